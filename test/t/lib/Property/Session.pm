# One psql for thousands of queries: no process is started for a query, and nothing of it is logged.
package Property::Session;

use strict;
use warnings;

use IPC::Open3 qw(open3);

my $end = '--- end of output ---';

sub new
{
	my ($class, $node, $database, $encoding) = @_;
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $database, PGCLIENTENCODING => $encoding);
	my $pid = open3(my $in, my $out, undef, $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-f', '-');
	$in->autoflush(1);
	my $self = bless { pid => $pid, in => $in, out => $out }, $class;
	$self->query('SET client_min_messages = error');
	return $self;
}

# What the statements return, a row a line, and what psql says of errors, or undef. The next statement is run all the same.
sub try
{
	my ($self, $sql) = @_;
	local $SIG{ALRM} = sub { die "no answer for two minutes: $sql" };
	alarm(120);
	print { $self->{in} } "$sql\n;\n\\echo '$end'\n";
	my ($output, $errors) = ('', '');
	for (;;)
	{
		my $line = readline($self->{out}) // die "psql has ended: $output$errors";
		last if $line eq "$end\n";
		($line =~ /^psql:.*(ERROR|FATAL|PANIC|WARNING|invalid|not found)/ || $errors ne '' ? $errors : $output) .= $line;
	}
	alarm(0);
	chomp($output);
	return ($output, $errors eq '' ? undef : $errors);
}

sub query
{
	my ($self, $sql) = @_;
	my ($output, $errors) = $self->try($sql);
	die "$errors$sql" if defined $errors;
	return $output;
}

sub quit
{
	my ($self) = @_;
	close($self->{in});
	waitpid($self->{pid}, 0);
	return;
}

1;
