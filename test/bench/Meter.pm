# What the processes of a server use: processor time and private memory, from /proc.
package Meter;
use strict;
use warnings;

use JSON::PP;
use POSIX qw(sysconf _SC_CLK_TCK);

sub slurp
{
	my ($path) = @_;
	# A process may end at any time.
	open(my $file, '<', $path) or return '';
	local $/ = undef;
	return <$file> // '';
}

sub children
{
	my ($postmaster) = @_;
	return split(' ', slurp("/proc/$postmaster/task/$postmaster/children"));
}

# Seconds of processor time that a server has used: of its processes that live, and of those that its postmaster has
# waited for.
sub cpu_seconds
{
	my ($postmaster) = @_;
	my $ticks = 0;
	foreach my $pid ($postmaster, children($postmaster))
	{
		# Fields are counted behind the name, which may hold anything: utime, stime, cutime, cstime.
		my @fields = split(' ', slurp("/proc/$pid/stat") =~ s/.*\)//sr) or next;
		$ticks += $_ foreach @fields[ 11 .. ($pid == $postmaster ? 14 : 12) ];
	}
	return $ticks / sysconf(_SC_CLK_TCK);
}

# What a process is doing, by its title: "load", "index", or nothing that counts. An import's leader builds the indexes
# in the end: from when its parallel workers were seen it is taken for a builder.
sub purpose
{
	my ($title, $building) = @_;
	return 'index' if $title =~ /parallel worker|\[local\] (CREATE INDEX|ALTER TABLE)/;
	return $building ? 'index' : 'load' if $title =~ /movielens_ingest leader/;
	return 'load' if $title =~ /movielens_ingest worker|\[local\] COPY/;
	return;
}

# watch POSTMASTER: samples the private memory of its processes from now on, every 50 ms. Shared buffers are not in it.
sub watch
{
	my ($postmaster) = @_;
	pipe(my $stop_read, my $stop) or die "pipe: $!\n";
	pipe(my $result, my $result_write) or die "pipe: $!\n";
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		close($stop);
		my (%peak, $building);
		for (;;)
		{
			foreach my $process (children($postmaster))
			{
				my $title = slurp("/proc/$process/cmdline");
				$building ||= $title =~ /parallel worker/;
				my $purpose = purpose($title, $building) or next;
				my ($kb) = slurp("/proc/$process/status") =~ /^RssAnon:\s*(\d+)/m or next;
				$peak{$purpose} = $kb if $kb > ($peak{$purpose} // 0);
			}
			my $ready = '';
			vec($ready, fileno($stop_read), 1) = 1;
			last if select($ready, undef, undef, 0.05);
		}
		print $result_write encode_json(\%peak);
		close($result_write);
		POSIX::_exit(0);
	}
	close($stop_read);
	close($result_write);
	return { pid => $pid, stop => $stop, result => $result };
}

# peaks WATCH: ends it and returns the most kB that one process had, by purpose.
sub peaks
{
	my ($watch) = @_;
	close($watch->{stop});
	local $/ = undef;
	my $peaks = readline($watch->{result});
	waitpid($watch->{pid}, 0);
	return decode_json($peaks);
}

1;
