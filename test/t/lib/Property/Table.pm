# A random table: columns of random types, with the constraints, keys, defaults, triggers and partitions that a table may
# have. And values for them: good ones, and others that nobody would want to find in a file.
package Property::Table;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(shuffle);
use Property::Random;

our @EXPORT = qw(shared_objects random_table random_value);

# What all tables refer to: made once, in schema public.
sub shared_objects
{
	return q(
		CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy');
		CREATE DOMAIN small AS integer CHECK (VALUE < 100000) CONSTRAINT odd CHECK (VALUE <> 42);
		CREATE DOMAIN word AS varchar(12) NOT NULL DEFAULT 'word' CHECK (VALUE !~ '^no');
		CREATE TABLE parent (id integer PRIMARY KEY, code text UNIQUE, UNIQUE (id, code));
		INSERT INTO parent SELECT n, 'c' || n FROM generate_series(1, 40) n;
		CREATE FUNCTION same() RETURNS text LANGUAGE plpgsql VOLATILE AS $$BEGIN RETURN 'same'; END$$;
		CREATE SEQUENCE ids;
		CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE value text := to_jsonb(NEW) ->> TG_ARGV[0];
		BEGIN
			IF hashtext(value) % 7 = 1 THEN RAISE EXCEPTION '% refuses %', TG_WHEN, TG_ARGV[0] USING ERRCODE = 'ML001'; END IF;
			IF hashtext(value) % 7 = 2 THEN PERFORM 1 / (hashtext(value) % 7 - 2); END IF;
			IF hashtext(value) % 7 = 3 THEN RETURN NULL; END IF;
			RETURN NEW;
		END$$);
}

# --- values ---

my %types = (
	int2 => [ 'smallint', sub { one_of(between(-9, 9), between(-32768, 32767)) } ],
	int4 => [ 'integer', sub { one_of(between(-9, 9), between(0, 100000), 2147483647, -2147483648) } ],
	int8 => [ 'bigint', sub { one_of(between(-9, 9), between(0, 1e12), '9223372036854775807', '-9223372036854775808') } ],
	float4 => [ 'real', sub { one_of(between(-9, 9), sprintf('%.9g', rand), '1e-40', '3.4e38', 'NaN', '-inf') } ],
	float8 => [ 'double precision', sub { one_of(between(-9, 9), sprintf('%.17g', rand), sprintf('%.17g', rand() * 1e300), '5e-324', '.5', 'Infinity') } ],
	numeric => [ 'numeric(8, 2)', sub { one_of(between(-9, 9), sprintf('%.3f', rand() * 1000), '1e5', 'NaN', '-0.005', '000.10') } ],
	wide => [ 'numeric', sub { one_of(between(-9, 9), '1e-20', '123456789012345678901234567890.5', '-Infinity', '1.500') } ],
	text => [ 'text', sub { words() } ],
	varchar => [ 'varchar(10)', sub { one_of('', 'x', 'tenletters', "\303\251" x 10, 'blank  ', 'b' . ' ' x 20) } ],
	char => [ 'char(5)', sub { one_of('ab', 'ab   ', 'abcde', '', 'ab         ') } ],
	bool => [ 'boolean', sub { one_of('t', 'f', 'true', 'NO', 'off', '1', ' y') } ],
	date => [ 'date', sub { one_of(sprintf('%04d-%02d-%02d', between(1, 2999), between(1, 12), between(1, 28)), 'epoch', 'infinity', 'Jan 8, 1999', '4713-01-01 BC') } ],
	time => [ 'timestamptz', sub { one_of(sprintf('%04d-%02d-%02d %02d:%02d:%02d.%d%+03d', between(1900, 2100), between(1, 12), between(1, 28), between(0, 23), between(0, 59), between(0, 59), between(0, 999999), between(-12, 12)), '-infinity', '2020-02-29T23:59:60Z') } ],
	uuid => [ 'uuid', sub { my $hex = join('', map { sprintf('%04x', rand 65536) } 1 .. 8); one_of($hex, "{$hex}", uc $hex, $hex =~ s/(.{8})(....)(....)(....)/$1-$2-$3-$4-/r) } ],
	enum => [ 'mood', sub { one_of('sad', 'ok', 'very happy') } ],
	domain => [ 'small', sub { one_of(between(0, 99999), between(0, 41)) } ],
	word => [ 'word', sub { one_of('yes', '', 'twelve chars', 'x') } ],
	array => [ 'integer[]', sub { one_of('{}', '{1,2}', '{{1},{2}}', '[0:1]={7,NULL}', '{ 1 , 2 }', '{"1"}') } ],
	jsonb => [ 'jsonb', sub { one_of('{}', '{"a": 1, "a": [1e2, null]}', '"s"', ' [1.50] ', '{"k": "\\u00e9\\n"}', '17') } ],
	bytea => [ 'bytea', sub { one_of('\\x00ff', '\\x', 'abc', 'a\\\\b', '\\001\\377', "\\x 0a\n0b") } ],
	parent => [ 'integer', sub { between(1, 40) } ],
	parent8 => [ 'bigint', sub { between(1, 40) } ],
	code => [ 'text', sub { 'c' . between(1, 40) } ]);

my @names = ('a', 'b', 'C c', 'd', 'select', 'f"', 'G', 'h_h');

# For any type. Most of them are refused by most.
my @hostile = (
	' 7 ', '+5', '1e400', '-1e400', '1_000', '0x1F', 'NaN', '-0', '1.', '.', '-', '+', '1e', '1e5', '5e-400', '1 2', "7\t", "\0137", "7\n", '007', '2147483648', '-2147483649', '32768',
	'9223372036854775808', '-9223372036854775809', '99999999999999999999999', '100000', '42', '999999.995', '1e1000000', '3.5e38', '1e-50', '1,5', '--1', '1-', 'inf', 'nan ', 'infinit',
	"\331\243", "\357\274\221", "\302\2407", "7\302\240", "\357\273\2777", '"', '""', '\\', '\\.', '\\N', 'NULL', 'null', '', ' ', "\n", "\r", "\r\n", "\n\\.\n", ',', ',,', ';', '\'', '|',
	'%s%n%d', "\033[2J\033[31mred", "'; DROP TABLE t; --", '$1', '${x}', '`id`', "\007\010", "\177", "\342\200\256rtl", "e\314\201" x 30, "\360\237\221\251\342\200\215\360\237\232\200",
	't', 'T', 'tru', 'yess', 'o', 'of', 'no', 'nothing', 'today?', '2020-02-30', '2020-13-01', '13/13/2020', '0000-01-01', '294277-01-01', '5874898-01-01', '1999-01-08 25:00', '24:00:01',
	'2020-01-01 00:00 Mars/Base', 'happy', 'OK', '{', '}', '{1', '{1,x}', '{{1},{2,3}}', '[1:1]={1,2}', '{99999999999}', '{"', '\\x0', '\\xzz', '\\9', 'a0eebc99', '[', '{"a":}', '"\\u0000"', '"\\ud800"',
	'[' x 50, 'tenletters!', "eleven letters", 'abcdef', '41', 'c41', 'C1', 'x' x 300, "\303\251" x 6);
my @broken_bytes = ("\377", "a\0b", "\0", "\342\202", "\300\257", "\355\240\200", "\364\220\200\200", "\303", "\200", "\360\237\221");

sub words
{
	return join('', map { one_of('a', 'Toy Story', ' ', '0', '\\', "\303\251", "\343\202\275", "\345\215\201", "\342\202\254", "\360\237\216\254", ';', '|', ',', '"', '\'', "\n", "\r\n", "\r", "\t", '(1995)', 'b', 'z') } 0 .. rand 6);
}

# A value, which may be undef for NULL. kind: good, hostile, bytes (not text), long.
sub random_value
{
	my ($table, $column, $kind) = @_;
	return one_of(@broken_bytes) if $kind eq 'bytes';
	return one_of('x', '9', ' ', "\303\251", '"', "\n", '[') x one_of(200, 2800, 9000, 20000) if $kind eq 'long';
	return one_of(@hostile, one_of(0 .. 9) . one_of(@hostile)) if $kind eq 'hostile';
	return if !$column->{not_null} && chance(0.15);
	# A row that comes before or after this one, if any.
	return one_of(@{ $table->{seen}{ $column->{refers} } // [1001] }, chance(0.3) ? 1000 + $table->{next} : ()) if $column->{refers} && chance(0.9);
	# The keys of rows before make duplicates.
	my $seen = $table->{seen}{ $column->{name} } //= [];
	return one_of(@$seen) if @$seen && chance($column->{unique} ? 0.1 : 0.3);
	my $value = $column->{unique} && $column->{type} =~ /^(int4|int8|float8|wide)$/ ? 1000 + $table->{next}++
	  : $column->{unique} && $column->{type} =~ /^(text|varchar)$/ ? 'k' . $table->{next}++ : $types{ $column->{type} }[1]->();
	push @$seen, $value;
	return $value;
}

# --- tables ---

sub quoted { my ($name) = @_; return '"' . $name =~ s/"/""/gr . '"' }

# A condition on a column that refuses some of its good values; some raise an error instead.
sub condition
{
	my ($column) = @_;
	my ($name, $type) = ($column->{sql}, $column->{type});
	return one_of("$name > -5", "$name <> 7", "10 / ($name - 3) IS NOT NULL") if $type =~ /^(int2|int4|int8|domain|parent8?)$/;
	return one_of("$name > -5", "$name <> 'NaN'", "sqrt($name) < 1000") if $type =~ /^(float4|float8|numeric|wide)$/;
	return one_of("length($name) < 9", "$name !~ '[0b]\$'", "$name IS DISTINCT FROM ''") if $type =~ /^(text|varchar|char|word|code)$/;
	return "jsonb_typeof($name) <> 'number'" if $type eq 'jsonb';
	return "array_ndims($name) = 1" if $type eq 'array';
	return "$name > '1950-01-01'" if $type =~ /^(date|time)$/;
	return "$name IS NOT NULL";
}

# columns: of the file, in order: { name, sql (quoted), type, not_null, unique }
# create:  the statement that makes the table, in the first schema of search_path
# more:    statements that follow; each can be left out
# collide: records may collide on a key; keys: how many kinds of keys there are
sub random_table
{
	my $count = between(1, 8);
	my @columns = map { { name => $names[$_], sql => quoted($names[$_]), type => one_of(sort keys %types) } } 0 .. $count - 1;
	# A key of two columns would be rare otherwise.
	($columns[0]{type}, $columns[-1]{type}) = ('parent', 'code') if $count > 1 && chance(0.1);
	# A key of the table to itself.
	my $self = $count > 1 && chance(0.12) ? one_of('int4', 'int8') : undef;
	@columns[ 0, -1 ] = map { { %$_, type => $self } } @columns[ 0, -1 ] if $self;
	my %table = (columns => \@columns, self => $self, more => [], collide => 0, keys => 0, next => 1);
	my @definitions;
	for my $column (@columns)
	{
		$column->{not_null} = $column->{type} eq 'word' || chance(0.2);
		push @definitions, "$column->{sql} $types{$column->{type}}[0]" . (chance(0.1) ? ' DEFAULT NULL' : '');
		push @{ $table{more} }, "ALTER TABLE t ALTER $column->{sql} SET NOT NULL" if $column->{not_null} && $column->{type} ne 'word';
	}
	# Columns that the file lacks.
	push @definitions, "made text DEFAULT 'made' NOT NULL" if chance(0.3);
	push @definitions, 'made_word word' if chance(0.1);
	push @definitions, some_of(0.05, 'same text DEFAULT public.same() NOT NULL', "any_id bigint DEFAULT nextval('public.ids') NOT NULL", 'any_number bigint GENERATED BY DEFAULT AS IDENTITY', 'any_time timestamptz DEFAULT clock_timestamp() NOT NULL');
	if (my ($from) = grep { $_->{type} =~ /^(int2|int4|domain|text|varchar)$/ } shuffle(@columns))
	{
		push @definitions, 'generated ' . ($from->{type} =~ /int|domain/ ? "integer GENERATED ALWAYS AS ($from->{sql} * 2)" : "text GENERATED ALWAYS AS (upper($from->{sql}))") . ' STORED' if chance(0.25);
	}
	@definitions = shuffle(@definitions) if chance(0.5);

	my ($part) = !$self && chance(0.15) ? grep { $_->{type} =~ /^(int4|int2|text|bool|domain|parent)$/ } shuffle(@columns) : ();
	$table{create} = 'CREATE TABLE t (' . join(', ', @definitions) . ')' . ($part ? partitions($part) : '');

	for my $column (some_of(0.25, @columns))
	{
		push @{ $table{more} }, "ALTER TABLE t ADD CHECK (" . condition($column) . ')';
	}
	if ($count > 1 && chance(0.1))
	{
		my ($one, $two) = map { "$_->{sql}::text" } (shuffle(@columns))[ 0, 1 ];
		push @{ $table{more} }, "ALTER TABLE t ADD CONSTRAINT pair CHECK ($one IS DISTINCT FROM $two)";
	}
	for (1 .. 2)
	{
		next if !chance(0.25);
		my @key = (shuffle(@columns))[ 0 .. ($count > 1 && chance(0.3) ? 1 : 0) ];
		@key = ($part, grep { $_ != $part } @key) if $part;
		$_->{unique} = 1 for @key;
		my $list = join(', ', map { $_->{sql} } @key);
		my $primary = $table{primary}++ || chance(0.5) ? 'UNIQUE' : 'PRIMARY KEY';
		$primary .= ' NULLS NOT DISTINCT' if $primary eq 'UNIQUE' && chance(0.2);
		push @{ $table{more} }, "ALTER TABLE t ADD $primary ($list)";
		$table{collide} = 1;
		$table{keys}++;
	}
	if ($self)
	{
		my ($key, $from) = @columns[ 0, -1 ];
		$key->{unique} = 1;
		$from->{refers} = $key->{name};
		# One statement: the second cannot be without the first.
		push @{ $table{more} }, "ALTER TABLE t ADD UNIQUE ($key->{sql}); ALTER TABLE t ADD FOREIGN KEY ($from->{sql}) REFERENCES t ($key->{sql})";
		$table{collide} = 1;
		$table{keys} += 2;
	}
	for my $column (grep { $_->{type} =~ /^(parent8?|code)$/ } @columns)
	{
		push @{ $table{more} }, "ALTER TABLE t ADD FOREIGN KEY ($column->{sql}) REFERENCES public.parent (" . ($column->{type} eq 'code' ? 'code' : 'id') . ')';
		$table{keys}++;
	}
	my ($id) = grep { $_->{type} eq 'parent' } @columns;
	my ($code) = grep { $_->{type} eq 'code' } @columns;
	if ($id && $code && chance(0.5))
	{
		push @{ $table{more} }, "ALTER TABLE t ADD FOREIGN KEY ($id->{sql}, $code->{sql}) REFERENCES public.parent (id, code)" . one_of('', ' MATCH FULL');
		$table{keys}++;
	}
	for my $when (some_of(0.12, 'BEFORE', 'AFTER'))
	{
		my $name = one_of(@columns)->{name} =~ s/'/''/gr;
		push @{ $table{more} }, "CREATE TRIGGER judge_$when $when INSERT ON t FOR EACH ROW EXECUTE FUNCTION public.judge('$name')";
	}
	return \%table;
}

sub partitions
{
	my ($column) = @_;
	my $by = one_of('LIST', 'RANGE', 'HASH');
	my @parts = $by eq 'HASH' ? map { "WITH (MODULUS 2, REMAINDER $_)" } 0, 1
	  : $column->{type} eq 'text' ? $by eq 'LIST' ? ("IN ('', NULL)", "IN ('a', 'b')") : ("FROM (MINVALUE) TO ('b')", "FROM ('b') TO ('y')")
	  : $column->{type} eq 'bool' ? $by eq 'LIST' ? ('IN (true)', 'IN (NULL)') : ('FROM (false) TO (true)')
	  : $by eq 'LIST' ? ('IN (1, 2, 3)', 'IN (NULL, 4, 5, 7)') : ('FROM (-5) TO (10)', 'FROM (10) TO (30000)');
	my $default = $by eq 'LIST' && chance(0.5) ? '; CREATE TABLE t_rest PARTITION OF t DEFAULT' : '';
	return " PARTITION BY $by ($column->{sql})" . join('', map { "; CREATE TABLE t_$_ PARTITION OF t FOR VALUES $parts[$_]" } 0 .. $#parts) . $default;
}

1;
