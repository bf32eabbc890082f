# Choices of a random case. All of them come from rand(): srand() repeats them.
package Property::Random;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(one_of some_of chance between);

sub one_of { return $_[ rand @_ ] }
sub some_of { my ($share, @list) = @_; return grep { rand() < $share } @list }
sub chance { return rand() < $_[0] }
sub between { my ($least, $most) = @_; return $least + int(rand($most - $least + 1)) }

1;
