# A subscriber whose publisher sends whole rows as their identity looks for them by any index of the table, from 16 on, and
# asks of none whether it is valid. So indexes of tables with a subscription are not put off, nor those of partitions of one:
# what the publisher updates and deletes while an import loads is updated and deleted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = start_server('subscriber', 'movielens_ingest.defer_indexes = on', 'autovacuum = off');
my $path = write_file('numbers.csv', numbers(60));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';

sub sql { return $subscriber->safe_psql('postgres', @_) }
sub publish { return $publisher->safe_psql('postgres', @_) }

sub missing
{
	my ($index) = @_;
	return sql("SELECT NOT (indisvalid AND indisready AND indislive) FROM pg_index WHERE indexrelid = '$index'::regclass");
}

# The gate is in a column's default: a table with triggers would keep its indexes.
sql(q(CREATE FUNCTION held() RETURNS integer LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END$$;
	CREATE ROLE ann LOGIN; GRANT pg_read_server_files TO ann; GRANT ALL ON SCHEMA public TO ann));
my $columns = '(id integer, name varchar(20), held integer DEFAULT held())';
sql("CREATE TABLE plain $columns; CREATE INDEX plain_id ON plain (id);
	CREATE TABLE split $columns PARTITION BY RANGE (id); CREATE TABLE middle PARTITION OF split DEFAULT PARTITION BY RANGE (id);
	CREATE TABLE leaf PARTITION OF middle DEFAULT; CREATE INDEX leaf_id ON leaf (id);
	CREATE TABLE other $columns; CREATE INDEX other_id ON other (id)", extra_params => [ '-U', 'ann' ]);
publish("CREATE TABLE $_ (id integer, name varchar(20), held integer); ALTER TABLE $_ REPLICA IDENTITY FULL") for 'plain', 'split', 'other';
publish('CREATE PUBLICATION plain FOR TABLE plain; CREATE PUBLICATION split FOR TABLE split');

my $connection = $publisher->connstr('postgres');
sql("CREATE SUBSCRIPTION plain CONNECTION \$\$$connection\$\$ PUBLICATION plain; CREATE SUBSCRIPTION split CONNECTION \$\$$connection\$\$ PUBLICATION split");
$subscriber->wait_for_subscription_sync($publisher, $_) for 'plain', 'split';

# An import as ann, who may read no subscription, into an empty table. Meanwhile rows come that have no row's key in the file,
# one of them is updated and one deleted.
sub import_beside
{
	my ($target, $index, $published, $kept, $name) = @_;
	my $gate = close_gate($subscriber);
	my $id = sql("SELECT ml_import('$path', '$target', $options)", extra_params => [ '-U', 'ann' ]);
	wait_at_gate($subscriber, 2);
	is(missing($index), $kept ? 'f' : 't', "$name: its index is " . ($kept ? 'kept' : 'put off'));
	if (defined $published)
	{
		publish("INSERT INTO $published SELECT g, 'published', 2 FROM generate_series(1000, 1009) g;
			UPDATE $published SET name = 'updated' WHERE id = 1003; DELETE FROM $published WHERE id = 1007");
		$publisher->wait_for_catchup($published);
		is(sql("SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM $target WHERE id IN (1002, 1003, 1007)"), '1002 published, 1003 updated',
			'... what the publisher updates and deletes meanwhile is updated and deleted');
	}
	open_gate($gate);
	my $row = wait_import($subscriber, $id);
	is("$row->{status} $row->{success_count}", 'Completed 60', '... the import completes') or diag($row->{error});
	is(missing($index), 'f', '... and its index is there');
	return;
}

import_beside('plain', 'plain_id', 'plain', 1, 'a table with a subscription');
import_beside('leaf', 'leaf_id', 'split', 1, 'a partition below a partitioned table with a subscription');
import_beside('other', 'other_id', undef, 0, 'a table without one');

# What counts is whether there is one, not whether it is enabled.
sql('ALTER SUBSCRIPTION plain DISABLE; TRUNCATE plain, other');
import_beside('plain', 'plain_id', undef, 1, 'a table with a subscription that is disabled');
sql('ALTER SUBSCRIPTION plain ENABLE');
publish('UPDATE plain SET name = $$late$$ WHERE id = 1003; ALTER PUBLICATION plain ADD TABLE other');
sql('ALTER SUBSCRIPTION plain REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($publisher, 'plain');
import_beside('other', 'other_id', undef, 1, 'a table that was added to a subscription');
sql('ALTER SUBSCRIPTION plain DISABLE; ALTER SUBSCRIPTION plain SET (slot_name = NONE); DROP SUBSCRIPTION plain; TRUNCATE plain');
import_beside('plain', 'plain_id', undef, 0, 'a table whose subscription was dropped');

$subscriber->stop;
$publisher->stop;
done_testing();
