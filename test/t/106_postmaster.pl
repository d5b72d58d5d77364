# Faults 1 to 3: the postmaster is killed, and workers notice; a killed worker takes the server down once, as any process does. Nobody helps.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for);
use CdcSink::Workers;

my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('postmaster', "restart_after_crash = on\n");
create_server($node, 'postgres', $broker->bootstrap);
my $oracle = CdcSink::Oracle->new($node, $broker, options => '{"batch_rows": 25, "retry_backoff_ms": 10, "retry_backoff_max_ms": 50}');
my $launcher = launcher_pid($node);
my ($kills, $stops) = (0, 0);

sub is_gone { my $pid = shift; return !-e "/proc/$pid" || slurp_file("/proc/$pid/stat") =~ /\) Z /; }

foreach my $state ('busy', 'idle', 'without a broker')
{
	my @pids = (wait_for_workers($node, 'postgres', 2), launcher_pid($node));
	$oracle->produce(200);
	$oracle->ok_clean("$state, before") if $state ne 'busy';
	if ($state eq 'without a broker')
	{
		$broker->down;
		wait_for_state($node, $_, qr/^retrying/) foreach $oracle->subscriptions;
	}
	my $start = time;
	kill('KILL', $node->{_pid}) or die 'no postmaster to kill';
	my $slowest = 0;
	foreach my $pid (@pids)
	{
		wait_for(sub { is_gone($pid) }, "process $pid ends");
		$slowest = time - $start;
	}
	cmp_ok($slowest, '<', 2, "fault 3: workers ($state) notice within a second that the postmaster is gone");
	$node->_update_pid(-1) if $node->can('_update_pid');
	$node->{_pid} = undef;
	unlink($node->data_dir . '/postmaster.pid');
	# memory and sockets of the dead one are free when its last process has gone
	wait_for(sub { $node->start(fail_ok => 1) }, 'the server starts');
	$stops++;
	$broker->up;
	$oracle->ok_clean("fault 3: after the postmaster was killed, workers $state");
}

# --- killed workers, under load
foreach my $round (1 .. ($ENV{CDC_SINK_FULL} ? 20 : 3))
{
	$oracle->produce(200);
	my $pid = wait_for(sub { (worker_pids($node))[ int(rand(2)) ] }, 'a worker');
	usleep(int(rand(50_000)));
	my $log = -s $node->logfile;
	kill('KILL', $pid) or next;
	wait_for(sub { slurp_file($node->logfile, $log) =~ /\(PID $pid\) (?:was terminated by signal 9|exited)/ }, 'the server notices');
	$kills++ if slurp_file($node->logfile, $log) =~ /\(PID $pid\) was terminated by signal 9/;
	wait_for(sub { (() = slurp_file($node->logfile) =~ /reinitializing/g) >= $kills }, 'the server starts anew');
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	$oracle->ok_clean("fault 1: a killed worker, round $round");
}

# --- ended workers, and those that are asked to read their settings or to cancel
my $slowest = 0;
foreach my $signal ((qw(TERM INT TERM HUP)) x ($ENV{CDC_SINK_FULL} ? 50 : 6))
{
	$oracle->produce(20);
	my $pid = wait_for(sub { (worker_pids($node))[ int(rand(2)) ] }, 'a worker');
	usleep(int(rand(20_000)));
	my $start = time;
	kill($signal, $pid);
	next if $signal ne 'TERM';
	wait_for(sub { is_gone($pid) }, 'the worker ends');
	$slowest = time - $start if time - $start > $slowest;
}
cmp_ok($slowest, '<', 2.5, 'fault 2: a terminated worker ends within 2 s');
$oracle->ok_clean('fault 2: signals at random points');

$node->stop('fast');
ok_no_crash($node, kills => $kills, stops => $stops);
done_testing();
