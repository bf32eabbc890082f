# Files in every encoding that COPY takes, into databases of several: records of whole, broken and random characters. Each record
# alone is given to COPY and to convert_from(), which are slow and obvious: an import loads the same text, or refuses the record
# with the same SQLSTATE and message, and shows and keeps its bytes.
#
# SEED=n begins with file n, CASES=n sets how many; TIME=n runs for so many seconds instead. RECORDS=n sets how many a file has.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use EncodedRecords;
use ImportTest;
use JSON::PP qw(decode_json);
use Property::Random;
use Property::Session;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{SEED} || 0;
my $seconds = $ENV{TIME};

my $node = start_server('main', 'fsync = off', 'autovacuum = off', 'log_min_messages = log', 'log_min_error_statement = panic');

# Statements that judge bytes. What they return is ASCII, whatever the encodings.
my $judges = q(
	CREATE EXTENSION movielens_ingest;
	CREATE TABLE t (name text, a text, b text);
	CREATE TABLE copied (LIKE t);
	CREATE FUNCTION hex(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT coalesce('=' || encode(textsend(value), 'hex'), 'null')$$;
	-- What COPY says of a file: its rows, or the error. Nothing of it stays.
	CREATE FUNCTION copy_of(file text, options text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		EXECUTE format('COPY copied FROM %L (%s)', file, options);
		SELECT coalesce(string_agg(hex(name) || ' ' || hex(a) || ' ' || hex(b), ' and ' ORDER BY name COLLATE "C"), 'nothing') INTO result FROM copied;
		RAISE SQLSTATE 'ZZZZZ';
	EXCEPTION
	WHEN SQLSTATE 'ZZZZZ' THEN RETURN result;
	WHEN others THEN RETURN SQLSTATE || ' ' || SQLERRM;
	END$$;
	CREATE FUNCTION text_of(bytes bytea, encoding name) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN RETURN hex(convert_from(bytes, encoding)); EXCEPTION WHEN others THEN RETURN SQLSTATE || ' ' || SQLERRM; END$$;
	-- Character by character: the fewest bytes that are text, or the next byte as \xHH. MULE_INTERNAL has characters that become
	-- something that is no text.
	CREATE FUNCTION shown(bytes bytea, encoding name) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result bytea := ''; size integer; part text; at integer := 1;
	BEGIN
		WHILE at <= length(bytes) LOOP
			size := 0;
			LOOP
				size := size + 1;
				part := text_of(substring(bytes FROM at FOR size), encoding);
				IF part LIKE '=%' THEN part := text_of(decode(substr(part, 2), 'hex'), getdatabaseencoding()); END IF;
				EXIT WHEN part LIKE '=%' OR size = CASE encoding WHEN 'SQL_ASCII' THEN 1 ELSE 8 END;
			END LOOP;
			IF part LIKE '=%' THEN
				result := result || decode(substr(part, 2), 'hex');
				at := at + size;
			ELSE
				result := result || convert_to(format('\\x%s', upper(encode(substring(bytes FROM at FOR 1), 'hex'))), 'SQL_ASCII');
				at := at + 1;
			END IF;
		END LOOP;
		RETURN '=' || encode(result, 'hex');
	END$$;
	-- What an encoding has of these characters. MULE_INTERNAL is made of others.
	CREATE FUNCTION characters(codes integer[], encoding name) RETURNS SETOF bytea LANGUAGE plpgsql AS $$
	DECLARE code integer; other name;
	BEGIN
		FOREACH code IN ARRAY codes LOOP
			FOREACH other IN ARRAY CASE encoding WHEN 'MULE_INTERNAL' THEN '{EUC_JP,EUC_CN,EUC_KR,EUC_TW,LATIN2,KOI8R}' ELSE ARRAY[encoding] END LOOP
				BEGIN RETURN NEXT convert(convert_to(chr(code), other), other, encoding); EXCEPTION WHEN others THEN NULL; END;
			END LOOP;
		END LOOP;
	END$$);

# --- databases, encodings and their characters ---

my %sessions;
# Up to 18.
my @mule = $node->safe_psql('postgres', "SELECT pg_char_to_encoding('MULE_INTERNAL')") >= 0 ? 'MULE_INTERNAL' : ();
for my $encoding (qw(UTF8 EUC_JP EUC_JIS_2004 EUC_TW LATIN1 WIN1251), @mule, 'SQL_ASCII')
{
	$node->safe_psql('postgres', "CREATE DATABASE \"$encoding\" ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$sessions{$encoding} = Property::Session->new($node, $encoding, 'SQL_ASCII');
	$sessions{$encoding}->query($judges);
}
my @encodings = split(/\n/, $sessions{UTF8}->query("SELECT e FROM generate_series(0, 100) n, pg_encoding_to_char(n) e WHERE e <> ''"));
cmp_ok(scalar @encodings, '>=', 41 + @mule, 'encodings: ' . join(' ', @encodings));
my @pairs = map { my $of_database = $_; map { [ $_, $of_database ] } @encodings } sort keys %sessions;
my %pools;


sub make_pools
{
	srand($_[0]);
	%pools = map { $_ => characters_of($_) } @encodings;
	my @few = grep { @{ $pools{$_} } < 10 } sort keys %pools;
	die "hardly any characters of @few" if @few;
	return;
}

sub characters_of
{
	my ($encoding) = @_;
	my $codes = join(',', random_codes(1500));
	my $of = $encoding eq 'SQL_ASCII' ? 'UTF8' : $encoding;
	return [ map { pack('H*', $_) } split(/\n/, $sessions{UTF8}->query("SELECT DISTINCT encode(c, 'hex') AS hex FROM characters('{$codes}', '$of') c ORDER BY hex")) ];
}

# --- one file ---

sub converts { my ($of_file, $of_database) = @_; return $of_file ne $of_database && $of_file ne 'SQL_ASCII' && $of_database ne 'SQL_ASCII' }

sub options
{
	my ($form, $arrow) = @_;
	return join(', ', map { my $value = $form->{$_} =~ s/'/''/gr; "$_ $arrow '$value'" } qw(delimiter quote escape encoding));
}

# What is not as it should be; nothing: all is well.
sub wrong_in
{
	my ($of_file, $of_database, $number) = @_;
	my $session = $sessions{$of_database};
	my $records = $ENV{RECORDS} || ($of_database eq 'UTF8' ? 200 : 60);
	srand($number);
	my $form = random_form(converts($of_file, $of_database));
	$form->{encoding} = $of_file;
	my @all = map { random_record($_, $pools{$of_file}, $form) } 0 .. $records - 1;
	my $d = $form->{delimiter};
	my $head = "name${d}a${d}b$form->{line_end}";
	my $file = write_file('all.csv', join('', $head, map { $_->{bytes} . $form->{line_end} } @all));

	my $refused_at_call = $session->query("TRUNCATE copied; SELECT copy_of('" . write_file('none.csv', '') . "', 'FORMAT csv, ' || \$\$" . options($form, '') . '$$)');
	if ($refused_at_call ne 'nothing')
	{
		my (undef, $error) = $session->try("SELECT ml_import('$file', 't', " . options($form, '=>') . ')');
		my ($sqlstate, $message) = split(/ /, $refused_at_call, 2);
		return ($error // '') =~ /ERROR:  $sqlstate: \Q$message\E\n/ ? () : "COPY says $refused_at_call, an import " . ($error // 'nothing');
	}

	my ($writer, $chunk_size, $workers) = (one_of('auto', @writers), one_of(30000, between(1, $records)), between(1, 3));
	my $result = decode_json($session->query("TRUNCATE t; SET movielens_ingest.writer = $writer;
		SELECT ml_import('$file', 't', " . options($form, '=>') . ", chunk_size => $chunk_size, max_workers => $workers, min_chunks => 1, force => true) AS id \\gset
		SELECT status FROM ml_wait(:id) \\g /dev/null
		SELECT json_build_object('row_count', row_count, 'error', error,
			'rows', (SELECT coalesce(json_agg(hex(name) || ' ' || hex(a) || ' ' || hex(b) ORDER BY name COLLATE \"C\"), '[]') FROM t),
			'rejects', (SELECT coalesce(json_agg(json_build_array(row_number, sqlstate || ' ' || message, encode(coalesce(raw_bytes, textsend(raw_line)), 'hex'), hex(raw_line)) ORDER BY row_number), '[]')
				FROM rejected_rows WHERE uploaded_file_id = :id)) FROM uploaded_files WHERE id = :id"));
	return "row_count $result->{row_count}, not $records " . ($result->{error} // '') if ($result->{row_count} // 0) != $records;

	my @wrong;
	my %reject = map { $_->[0] - 1 => $_ } @{ $result->{rejects} };
	my %row = map { /^=(\w+)/ or die "no name: $_"; (pack('H*', $1) => $_) } @{ $result->{rows} };
	my $verdicts = verdicts($session, $form, \@all, \%reject);
	for my $i (0 .. $#all)
	{
		my @broken = wrong_of($all[$i], $verdicts->[$i], $row{ $all[$i]{name} }, $reject{$i}, $of_file, $of_database);
		push @wrong, map { "record $i, " . unpack('H*', $all[$i]{bytes}) . ": $_" } @broken;
	}
	my @loaded = map { $all[$_] } grep { !$reject{$_} } 0 .. $#all;
	push @wrong, other_rows($session, $form, join('', $head, map { $_->{bytes} . $form->{line_end} } @loaded), map { $row{ $_->{name} } // () } @loaded);
	return @wrong ? ("writer $writer, chunk_size $chunk_size, $workers processes", @wrong) : ();
}

# Of each record: copy, convert; of the loaded ones: a, b; of some of the refused: shown, ended (copy, with the line end).
sub verdicts
{
	my ($session, $form, $all, $reject) = @_;
	my $options = options($form, '') =~ s/'/''/gr;
	my $looked_at = 0;
	my @calls;
	for my $i (0 .. $#$all)
	{
		my $bytes = $all->[$i]{bytes};
		my $copy_of = sub { "copy_of('" . write_file(@_) . "', 'FORMAT csv, $options')" };
		my $text_of = sub { "text_of('\\x" . unpack('H*', $_[0]) . "', '$form->{encoding}')" };
		my %calls = (copy => $copy_of->("one$i.csv", $bytes), convert => $text_of->($bytes));
		if (!$reject->{$i})
		{
			@calls{qw(a b)} = map { $text_of->(unquoted($_, $form)) } @{ $all->[$i]{fields} };
		}
		elsif ($looked_at++ < 12)
		{
			$calls{shown} = $text_of->($bytes) =~ s/^text_of/shown/r;
			$calls{ended} = $copy_of->("line$i.csv", $bytes . $form->{line_end});
		}
		push @calls, 'json_build_object(' . join(', ', map { "'$_', $calls{$_}" } sort keys %calls) . ')';
	}
	return [ map { decode_json($_) } split(/\n/, $session->query('TRUNCATE copied; SELECT unnest(ARRAY[' . join(', ', @calls) . '])')) ];
}

sub unquoted
{
	my ($field, $form) = @_;
	my ($quote, $escape) = @$form{qw(quote escape)};
	return $field =~ /\A\Q$quote\E(.*)\Q$quote\E\z/s ? $1 =~ s/\Q$escape\E(\Q$quote\E|\Q$escape\E)/$1/gr : $field;
}

sub wrong_of
{
	my ($record, $verdict, $row, $reject, $of_file, $of_database) = @_;
	my ($copy, $convert) = @$verdict{qw(copy convert)};
	my $ours = $reject ? $reject->[1] : $row // 'neither loaded nor refused';
	my @wrong;
	push @wrong, "$ours; COPY: $copy" if $ours ne $copy;

	# convert_from() verifies all before it converts anything, and more strictly than what converts into MULE_INTERNAL does. Of
	# SQL_ASCII COPY only sees to it that there is no NUL.
	my ($sqlstate) = $ours =~ /^(22021|22P05) /;
	my $earlier = $convert =~ /^22021/ && ($of_database eq 'MULE_INTERNAL' || ($sqlstate // '') eq '22P05');
	my $same = $earlier || (defined $sqlstate ? $convert eq $ours : $convert =~ /^=/);
	push @wrong, "$ours; convert_from(): $convert" if !$same && $of_file ne 'SQL_ASCII';
	if (!$reject)
	{
		my @values = map { $record->{fields}[$_] eq '' ? 'null' : $verdict->{ (qw(a b))[$_] } } 0, 1;
		push @wrong, "$ours; the fields alone: @values" if $ours !~ /^\S+ \Q@values\E$/ && !grep { /^22/ } @values;
	}
	else
	{
		push @wrong, "other bytes are kept: $reject->[2]" if $reject->[2] ne unpack('H*', $record->{bytes});
		push @wrong, "shown is $reject->[3], not $verdict->{shown}" if defined $verdict->{shown} && $reject->[3] ne $verdict->{shown};
		# A character that is cut off at the end of a line: README, "Differences from COPY".
		my $ended = $verdict->{ended} // $ours;
		my $taken = $of_file =~ /^(BIG5|GBK|UHC)$/ && $of_database =~ /^(SQL_ASCII|EUC_TW|MULE_INTERNAL)$/;
		push @wrong, "$ours; COPY of a line: $ended" if index($ended, $ours) != 0 && ($ours !~ /^22/ || !($taken || $ended =~ /^22P05/));
	}
	return @wrong;
}

# COPY takes the file without the refused records, and loads the same.
sub other_rows
{
	my ($session, $form, $bytes, @rows) = @_;
	my $options = options($form, '') =~ s/'/''/gr;
	my $copy = $session->query("SELECT copy_of('" . write_file('clean.csv', $bytes) . "', 'FORMAT csv, HEADER, $options')");
	return $copy eq (join(' and ', @rows) || 'nothing') ? () : "COPY makes something else of what is loaded: $copy";
}

# --- all of them ---

my $cases = $ENV{CASES} || @pairs;
my ($start, $told, $run, %failed) = (time, time, 0);
while ($seconds ? !%failed && time - $start < $seconds : $run < $cases)
{
	my $number = $seed + $run++;
	make_pools(int($number / @pairs)) if !%pools || $number % @pairs == 0;
	my ($of_file, $of_database) = @{ $pairs[ $number % @pairs ] };
	my @wrong = wrong_in($of_file, $of_database, $number);
	$failed{$of_database}++ if @wrong;
	diag(join("\n", "SEED=$number CASES=1 runs it again: a file in $of_file, a database in $of_database", map { substr($_, 0, 1000) } @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ])) if @wrong;
	if ($seconds && time - $told > 10)
	{
		$told = time;
		diag(progress());
	}
}
diag(progress()) if $seconds;
note progress();
ok(!$failed{$_}, "records in all encodings are as COPY has them: a database in $_") for sort keys %sessions;

sub progress { return sprintf('%d files, seeds %d to %d, %.1f files a second', $run, $seed, $seed + $run - 1, $run / (time - $start)) }

$_->quit for values %sessions;
$node->stop;
done_testing();
