# Records as Debezium writes them for tables with the key "id", without schema.
package CdcSink::Events;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;

our @EXPORT = qw(change inserted updated deleted tombstone);

my $json = JSON::PP->new->canonical;

# A record of any op; a row is a hash with id.
sub change
{
	my ($op, $before, $after) = @_;
	my $value = { before => $before, after => $after, op => $op, ts_ms => 1, source => { schema => 'public', table => 't' } };
	return { key => $json->encode({ id => ($after // $before)->{id} }), value => $json->encode($value) };
}

sub inserted { return change('c', undef, $_[0]); }
sub updated { return change('u', undef, $_[0]); }
sub deleted { return change('d', $_[0], undef); }
sub tombstone { return { key => $json->encode({ id => $_[0] }), value => undef }; }

1;
