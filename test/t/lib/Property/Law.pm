# The law: COPY takes the file of an import without the refused records, and leaves the same rows; and it refuses the file with
# any one of them put back, for the same reason. The other records are counted, each once, and everything has its place. This
# is so for all sizes of chunks, numbers of processes and writers.
package Property::Law;

use strict;
use warnings;

use Exporter qw(import);
use ImportTest qw(write_file);
use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Property::Records;

our @EXPORT = qw(prepare_server broken_laws table_sql copy_command import_options);

sub prepare_server
{
	my ($session) = @_;
	# The error that COPY meets.
	$session->query(q(
		CREATE FUNCTION try_copy(command text, keep boolean) RETURNS json LANGUAGE plpgsql AS $$
		DECLARE context text;
		BEGIN
			EXECUTE command;
			IF NOT keep THEN RAISE SQLSTATE 'ZZZZZ'; END IF;
			RETURN NULL;
		EXCEPTION
		WHEN SQLSTATE 'ZZZZZ' THEN RETURN NULL;
		WHEN others THEN
			GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
			RETURN json_build_object('sqlstate', SQLSTATE, 'message', SQLERRM, 'context', context);
		END$$;
		-- The rows of one table that are not in the other one. Columns named any_... have volatile defaults,
		-- those that are numbers another one in each row.
		CREATE FUNCTION difference() RETURNS text LANGUAGE plpgsql AS $$
		DECLARE result text; columns text; own text;
		BEGIN
			SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FILTER (WHERE attname NOT LIKE 'any\_%'),
			       coalesce(string_agg(format('count(DISTINCT %I) <> count(*)', attname), ' OR ') FILTER (WHERE attname LIKE 'any\_%' AND atttypid = 'bigint'::regtype), 'false')
			  INTO columns, own FROM pg_attribute WHERE attrelid = 'imp.t'::regclass AND attnum > 0 AND NOT attisdropped;
			EXECUTE format($q$
				WITH imp AS (SELECT c.relname, ROW(%1$s)::text AS r FROM imp.t t JOIN pg_class c ON c.oid = t.tableoid),
				     cop AS (SELECT c.relname, ROW(%1$s)::text AS r FROM cop.t t JOIN pg_class c ON c.oid = t.tableoid)
				SELECT string_agg(d, ' ') FROM (
					(SELECT 'imported: ' || d::text AS d FROM (TABLE imp EXCEPT ALL TABLE cop) d LIMIT 3)
					UNION ALL (SELECT 'copied: ' || d::text FROM (TABLE cop EXCEPT ALL TABLE imp) d LIMIT 3)
					UNION ALL (SELECT 'a number of a sequence twice' FROM imp.t HAVING %2$s)) d $q$, columns, own) INTO result;
			RETURN left(result, 2000);
		END$$));
	return;
}

# --- options ---

sub literal { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'" }
sub identifier { my ($name) = @_; return '"' . $name =~ s/"/""/gr . '"' }
sub names { my ($names) = @_; return '(' . join(', ', map { identifier($_) } @$names) . ')' }
sub array { my ($names) = @_; return 'ARRAY[' . join(', ', map { literal($_) } @$names) . ']::text[]' }

sub copy_command
{
	my ($case, $file) = @_;
	my $dialect = $case->{dialect};
	return 'COPY cop.t ' . names([ map { $_->{name} } @{ $case->{table}{columns} } ]) . " FROM '$file' (" . join(', ', 'FORMAT csv', 'HEADER ' . ($dialect->{header} ? 'true' : 'false'), "ENCODING $dialect->{encoding}",
		(map { uc($_) . ' ' . literal($dialect->{$_}) } qw(delimiter quote escape)), 'NULL ' . literal($dialect->{null_string}),
		map { @{ $dialect->{$_} // [] } ? uc($_) . ' ' . names($dialect->{$_}) : () } qw(force_null force_not_null)) . ')';
}

sub import_options
{
	my ($dialect) = @_;
	return join(', ', 'header => ' . ($dialect->{header} ? 'true' : 'false'),
		(map { "$_ => " . literal($dialect->{$_}) } qw(encoding delimiter quote escape null_string)),
		map { @{ $dialect->{$_} // [] } ? "$_ => " . array($dialect->{$_}) : () } qw(columns force_null force_not_null));
}

sub table_sql
{
	my ($case, $schema) = @_;
	return join(";\n", "CREATE SCHEMA $schema", "SET search_path = $schema, public", $case->{table}{create}, @{ $case->{table}{more} });
}

# --- what differs: README, "Differences from COPY" ---

# May COPY say this, or nothing, of a record for which an import says that?
sub documented
{
	my ($case, $record, $reject, $copy) = @_;
	my $ours = $reject->{message};
	# A lone \. line: COPY ends the input there.
	return 1 if $ours =~ /^end-of-copy marker/ && $record->{bytes} =~ /^\\\.[\r\n]*$/;
	# A quote that never closes: COPY reads on behind its line.
	return 1 if $ours eq 'unterminated CSV quoted field' && $copy;
	# Lines end as the first one does, also if that is refused: for COPY another one is then the first. Or an LF comes to stand
	# behind the CR that ends the header.
	return 1 if $ours =~ /newline|carriage return/ && (!$case->{dialect}{header} || ($case->{dialect}{line_end} eq "\r" && $record->{bytes} =~ /^\n/));
	# The row that it refers to is in another part of the chunk.
	return 1 if $case->{table}{self} && $reject->{sqlstate} eq '23503';
	return 0 if !$copy;
	# A message is clipped.
	return 1 if $copy->{sqlstate} eq $reject->{sqlstate} && length($ours) > 4000 && index($copy->{message}, substr($ours, 0, 4000)) == 0;
	# A record that is broken in several ways: COPY looks at the bytes of a buffer before it looks at fields.
	return 1 if $reject->{sqlstate} eq '22P04' && $copy->{sqlstate} =~ /^(22021|22P05)$/;
	# A character that is cut off at the end of a line; in some encodings a line end is looked at as a part of it.
	return 1 if $reject->{sqlstate} eq '22021' && $copy->{sqlstate} eq '22021' && index($copy->{message}, $ours) == 0;
	return 1 if $reject->{sqlstate} eq '22021' && $copy->{sqlstate} eq '22P05' && $case->{dialect}{encoding} =~ /^(BIG5|GBK|UHC)$/;
	# Several keys are looked at in another order.
	return 1 if $case->{table}{keys} > 1 && $reject->{sqlstate} =~ /^2350[35]$/ && $copy->{sqlstate} =~ /^2350[35]$/;
	# What an AFTER trigger refuses leaves its key to another record, which COPY then meets before the trigger fires.
	return 1 if $case->{table}{collide} && $copy->{sqlstate} eq '23505' && grep { / AFTER INSERT / } @{ $case->{table}{more} };
	return 0;
}

# --- the law ---

sub bytes_of { my ($case) = @_; return join('', $case->{head}, @{ $case->{records} }) }

sub has_end_marker { my ($session) = @_; return $session->query("SELECT CASE WHEN current_setting('server_version_num')::integer < 180000 THEN 1 ELSE 0 END") }

# Each variant is [ chunk_size, min_chunks, max_workers, writer ]. Returns what is not as it should be, as text; nothing: all is well.
sub broken_laws
{
	my ($session, $case) = @_;
	my $dialect = $case->{dialect};
	my $bytes = bytes_of($case);
	my $run = { session => $session, case => $case, bytes => $bytes, file => write_file('property.csv', $bytes),
		records => [ records_of($bytes, { %$dialect, end_marker => has_end_marker($session) }, length $case->{head}) ] };
	$_->{bytes} = substr($bytes, $_->{offset}, $_->{size}) for @{ $run->{records} };
	$session->query("DROP SCHEMA IF EXISTS imp, cop CASCADE;\n" . table_sql($case, 'imp') . ";\n" . table_sql($case, 'cop') . "; SET search_path = public");

	my ($same, @wrong); # the refused records that cop.t is without
	for my $variant (@{ $case->{variants} })
	{
		my $name = "chunk_size $variant->[0], min_chunks $variant->[1], max_workers $variant->[2], writer $variant->[3]";
		my ($result, $error) = import_file($run, $variant);
		return "$name: $error" if defined $error;
		my $set = join("\n", map { "$_->{row_number} $_->{sqlstate} $_->{message}" } @{ $result->{rejects} });
		my @broken = ledger_of($run, $result);
		if (@broken) { }
		elsif (!defined $same || ($set ne $same && $case->{table}{collide}))
		{
			@broken = (without_refused($run, $result), difference($run));
			@broken = with_one($run, $result) if !@broken;
			copy_clean($run, $result) if !@broken;
			$same = $set;
		}
		elsif ($set ne $same)
		{
			@broken = 'other records are refused, or for other reasons: ' . other_lines($same, $set);
		}
		else
		{
			@broken = difference($run);
		}
		push @wrong, map { "$name: $_" } @broken;
		last if @wrong;
	}
	return @wrong;
}

sub other_lines
{
	my ($one, $other) = @_;
	my %one = map { $_ => 1 } split(/\n/, $one);
	my %other = map { $_ => 1 } split(/\n/, $other);
	return join(' | ', (map { "first: $_" } grep { !$other{$_} } sort keys %one), map { "now: $_" } grep { !$one{$_} } sort keys %other);
}

sub import_file
{
	my ($run, $variant) = @_;
	my ($chunk_size, $min_chunks, $workers, $writer) = @$variant;
	my $options = import_options($run->{case}{dialect});
	my ($id, $error) = $run->{session}->try("TRUNCATE imp.t; SET movielens_ingest.writer = $writer;
		SELECT ml_import('$run->{file}', 'imp.t', $options, chunk_size => $chunk_size, min_chunks => $min_chunks, max_workers => $workers, force => true)");
	# A table that this writer does not take.
	return import_file($run, [ $chunk_size, $min_chunks, $workers, 'auto' ]) if defined $error && $error =~ /cannot import into table .* by writer "$writer"/;
	return (undef, $error) if defined $error;
	(my $json, $error) = $run->{session}->try("SELECT id FROM ml_wait($id, '60 s') \\g /dev/null
		SELECT json_build_object('file', (SELECT row_to_json(f) FROM uploaded_files f WHERE id = $id),
			'rows', (SELECT count(*) FROM imp.t),
			'chunks', (SELECT json_agg(c ORDER BY chunk_number) FROM process_chunks c WHERE uploaded_file_id = $id),
			'rejects', (SELECT coalesce(json_agg(json_build_object('row_number', row_number, 'line', line_number, 'offset', byte_offset, 'column', column_name,
				'sqlstate', sqlstate, 'message', message, 'bytes', encode(coalesce(raw_bytes, convert_to(raw_line, 'UTF8')), 'hex')) ORDER BY row_number, id), '[]')
				FROM rejected_rows WHERE uploaded_file_id = $id))");
	return (undef, $error) if defined $error;
	return decode_json($json);
}

# Counts, chunks and the places of the refused records.
sub ledger_of
{
	my ($run, $result) = @_;
	my ($file, $rejects, @records) = ($result->{file}, $result->{rejects}, @{ $run->{records} });
	my @wrong;
	my $status = @$rejects ? 'Completed with errors' : 'Completed';
	push @wrong, "status $file->{status}, not $status: " . ($file->{sqlstate} // '') . ' ' . ($file->{error} // '') if $file->{status} ne $status;
	return @wrong if @wrong;
	push @wrong, "row_count $file->{row_count}, but the file has " . @records if $file->{row_count} != @records;
	push @wrong, "the counts $file->{success_count}, $file->{error_count}, $file->{skipped_count}, $file->{unprocessed_count} do not add up to $file->{row_count}"
	  if $file->{success_count} + $file->{error_count} + $file->{skipped_count} + $file->{unprocessed_count} != $file->{row_count} || $file->{unprocessed_count};
	push @wrong, "success_count $file->{success_count}, but $result->{rows} rows" if $file->{success_count} != $result->{rows};
	push @wrong, "error_count $file->{error_count}, but " . @$rejects . ' rejected rows' if $file->{error_count} != @$rejects;

	my ($row, $byte) = (1, length $run->{case}{head});
	for my $chunk (@{ $result->{chunks} // [] })
	{
		my $first = $records[ $row - 1 ];
		push @wrong, "chunk $chunk->{chunk_number} begins with record $chunk->{start_row}, line $chunk->{start_line}, byte $chunk->{start_byte}, not with $row, "
		  . ($first ? "$first->{line}, $byte" : 'none')
		  if !$first || $chunk->{start_row} != $row || $chunk->{start_byte} != $byte || $first->{offset} != $byte || $chunk->{start_line} != $first->{line};
		($row, $byte) = ($chunk->{end_row} + 1, $chunk->{end_byte});
	}
	push @wrong, "the chunks end with record @{[ $row - 1 ]}, byte $byte" if $row != @records + 1 || $byte != length $run->{bytes};

	my $before = 0;
	for my $reject (@$rejects)
	{
		my $record = $reject->{row_number} > $before ? $records[ $reject->{row_number} - 1 ] : undef;
		my $content = $record && substr($record->{bytes}, 0, $record->{content});
		push @wrong, "record $reject->{row_number}, line $reject->{line}, byte $reject->{offset} is refused; expected: "
		  . ($record ? "line $record->{line}, byte $record->{offset}" : 'no such record, or not again')
		  if !$record || $record->{line} != $reject->{line} || $record->{offset} != $reject->{offset};
		push @wrong, "record $reject->{row_number} has other bytes: $reject->{bytes}" if $record && unpack('H*', $content) ne $reject->{bytes};
		$before = $reject->{row_number};
	}
	return @wrong;
}

# The file for COPY, which takes a byte order mark for data, without the refused records but one.
sub write_without
{
	my ($run, $name, $result, $with) = @_;
	my %refused = map { $_->{row_number} => 1 } @{ $result->{rejects} };
	my $head = $run->{case}{dialect}{bom} ? substr($run->{case}{head}, 3) : $run->{case}{head};
	my @records = @{ $run->{records} };
	return write_file($name, join('', $head, map { !$refused{ $_ + 1 } || $_ + 1 == $with ? $records[$_]{bytes} : () } 0 .. $#records));
}

# What COPY says of each of these files. Whether its rows are to stay.
sub try_copy
{
	my ($run, $keep, @files) = @_;
	my $calls = join(', ', map { 'try_copy(' . literal(copy_command($run->{case}, $_)) . ", $keep)" } @files);
	return @{ decode_json($run->{session}->query("SELECT json_build_array($calls)")) };
}

sub copy_clean
{
	my ($run, $result) = @_;
	$run->{session}->query('TRUNCATE cop.t');
	my ($said) = try_copy($run, 'true', write_without($run, 'clean.csv', $result, 0));
	return $said;
}

sub without_refused
{
	my ($run, $result) = @_;
	my $said = copy_clean($run, $result) // return;
	return "COPY refuses what was loaded: $said->{sqlstate} $said->{message}; $said->{context}";
}

sub difference
{
	my ($run) = @_;
	my $difference = $run->{session}->query('SELECT difference()');
	return $difference eq '' ? () : "rows differ: $difference";
}

# All refused records if they are few, or some of them.
sub with_one
{
	my ($run, $result) = @_;
	my @rejects = @{ $result->{rejects} };
	@rejects = (shuffle(@rejects))[ 0 .. 9 ] if @rejects > 12;
	my @files = map { write_without($run, "with$_.csv", $result, $rejects[$_]{row_number}) } 0 .. $#rejects;
	return if !@files;
	$run->{session}->query('TRUNCATE cop.t');
	my @said = try_copy($run, 'false', @files);
	unlink @files;
	my @wrong;
	for my $i (0 .. $#rejects)
	{
		my ($reject, $copy) = ($rejects[$i], $said[$i]);
		my $record = $run->{records}[ $reject->{row_number} - 1 ];
		my ($column) = ($copy->{context} // '') =~ /^COPY t, line \d+, column (.*?)(?:: |$)/;
		my $same = $copy && $copy->{sqlstate} eq $reject->{sqlstate} && $copy->{message} eq $reject->{message};
		push @wrong, "record $reject->{row_number} (" . shown($record->{bytes}) . "): $reject->{sqlstate} $reject->{message}; COPY: " . ($copy ? "$copy->{sqlstate} $copy->{message}" : 'takes it')
		  if !$same && !documented($run->{case}, $record, $reject, $copy);
		push @wrong, "record $reject->{row_number} (" . shown($record->{bytes}) . "): $reject->{sqlstate} $reject->{message} in column " . ($reject->{column} // 'none') . "; COPY: $column"
		  if $same && defined $column && ($reject->{column} // '') ne $column;
	}
	return @wrong;
}

sub shown { my ($bytes) = @_; return substr($bytes, 0, 300) =~ s/([^ -~])/sprintf('\\x%02x', ord $1)/ger }

1;
