# fault 4: a shutdown does not wait for us, whatever state the workers are in.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Node;
use CdcSink::Workers;

my $db = 'postgres';
my $node = new_read_side('shutdown');
create_idle_subscription($node, $db, "s$_") for 1 .. 4;

foreach my $mode ('fast', 'smart', 'immediate')
{
	wait_for_workers($node, $db, 4);
	my $start = time;
	$node->stop($mode);
	cmp_ok(time - $start, '<', 5, "$mode shutdown with workers that find no broker takes less than 5 s");
	$start = time;
	$node->start;
	wait_for_workers($node, $db, 4);
	cmp_ok(time - $start, '<', 10, 'and they are back soon after the start');
}

# processes that are just coming up
foreach my $i (1 .. 5)
{
	my $start = time;
	$node->restart;
	cmp_ok(time - $start, '<', 10, 'a restart while workers come up');
}
ok_no_crash($node, stops => 1);
is(join("\n", slurp_file($node->logfile) =~ /^(.*launcher (?:FATAL|ERROR).*)$/mg), '', 'and the launcher met no error');

done_testing();
