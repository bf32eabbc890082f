# Where the records of a file are, found in a slow and obvious way: what COPY's CopyReadLineText says, and the rules that an
# import adds for the records that COPY stops at.
package Property::Records;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(records_of);

# The records from byte $start on, which is behind the header: { offset, content and size (bytes without and with the line
# end), line (from 1) }.
sub records_of
{
	my ($bytes, $dialect, $start) = @_;
	my $reader = { bytes => $bytes, quote => $dialect->{quote}, escape => $dialect->{escape}, end_marker => $dialect->{end_marker}, line_end => '', behind_cut => 0 };
	my $first = $dialect->{bom} ? 3 : 0;
	# The first line end outside quotes is that of the file. If there is none it is LF.
	for (my $at = $first; $at < length $bytes && $reader->{line_end} eq '';)
	{
		$at += (record_at($reader, $at))[1];
	}
	$reader->{line_end} ||= "\n";
	my $break = $reader->{line_end} eq "\r" ? "\r" : "\n";

	my @records;
	my ($at, $line) = ($first, 1);
	while ($at < length $bytes)
	{
		my ($content, $size) = record_at($reader, $at);
		push @records, { offset => $at, content => $content, size => $size, line => $line } if $at >= $start;
		$line += () = substr($bytes, $at, $size) =~ /$break/g;
		$at += $size;
	}
	return @records;
}

# The sizes of the record that begins there, without and with its line end.
sub record_at
{
	my ($reader, $start) = @_;
	my $bytes = $reader->{bytes};
	my ($in_quote, $escaped) = (0, 0);

	# Up to PostgreSQL 17 there is an end-of-copy marker, and it is seen before quotes are.
	if ($reader->{end_marker} && substr($bytes, $start, 4) =~ /\A\\\.(\r\n|\r|\n)/ && ($reader->{line_end} eq '' || $reader->{line_end} eq $1))
	{
		$reader->{line_end} = $1;
		return (2, 2 + length $1);
	}
	pos($bytes) = $start;
	while ($bytes =~ /\G([^\r\n\Q$reader->{quote}$reader->{escape}\E]*)(\r\n|.)/gs)
	{
		my ($ordinary, $c, $end) = ($1, $2, $+[0]);
		$escaped = 0 if $ordinary ne '';
		if ($c eq "\r\n" && $reader->{line_end} ne "\r\n" && ($in_quote || $reader->{line_end} ne ''))
		{
			pos($bytes) = --$end;
			$c = "\r";
		}
		if ($c eq $reader->{escape} && $c ne $reader->{quote})
		{
			$escaped = $in_quote && !$escaped;
			next;
		}
		$in_quote = !$in_quote if $c eq $reader->{quote} && !$escaped;
		$escaped = 0;
		next if $c !~ /[\r\n]/;

		if ($in_quote)
		{
			return cut_at($reader, $start, $end) if $reader->{behind_cut} && substr($c, -1) eq ($reader->{line_end} eq "\r" ? "\r" : "\n");
			next;
		}
		$reader->{line_end} = $c if $reader->{line_end} eq '';
		# A lone LF ends a record in every file, a CR only in those whose lines it ends.
		return ($end - length($c) - $start, $end - $start) if substr($c, -1) eq "\n" || $reader->{line_end} eq "\r";
	}
	my $size = length($bytes) - $start;
	return ($size, $size) if !$in_quote;

	# The quote is open up to the end of the file: the record is cut behind its first line.
	my $rest = substr($bytes, $start);
	my $break = $reader->{line_end} eq "\r" || ($reader->{line_end} eq '' && $rest !~ /\n/) ? qr/\r/ : qr/\n/;
	return ($size, $size) if $rest !~ $break;
	$reader->{behind_cut} = $reader->{line_end} ne '';
	return cut_at($reader, $start, $start + $+[0]);
}

sub cut_at
{
	my ($reader, $start, $end) = @_;
	my $size = $end - $start;
	my $record = substr($reader->{bytes}, $start, $size);
	my $before = $reader->{line_end} eq "\n" || $record !~ /\r\n\z/ ? 1 : 2;
	return ($size - $before, $size);
}

1;
