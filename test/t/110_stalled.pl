# Fault 10: a client that asks the wrong broker for ever, as librdkafka does where a leader moves away and back at once: the worker notices that nothing
# comes although there is more, and connects anew.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for);
use CdcSink::Proxy;
use CdcSink::Workers;

my $broker = CdcSink::MockBroker->new;
my $proxy = CdcSink::Proxy->new($broker->bootstrap);
my $node = new_read_side('stalled');
# what is silent for 2 s, 10 s for a connection and 5 s, and may not be, has stalled
$node->safe_psql('postgres', qq{CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "socket.timeout.ms" '2000')});
my $oracle = CdcSink::Oracle->new($node, $broker);
my ($rows, $log) = $oracle->subscriptions;
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));

# --- a broker that has more and does not give it
my $lines = -s $node->logfile;
my %states;
$proxy->command('starve');
$oracle->produce(20);
wait_for(sub {
	$states{$_}++ foreach split /\n/, $node->safe_psql('postgres', "SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE end_offset > next_offset");
	return (() = slurp_file($node->logfile, $lines) =~ /connecting anew/g) == 2;
}, 'new clients', 90);
$oracle->ok_clean('fault 10: starved connections');
ok(!(grep { /waiting_for_transaction/ } keys %states), 'fault 10: what is committed does not wait for a transaction') or diag(join(', ', keys %states));
ok($states{'catching_up'}, 'fault 10: what is known to be behind does not stream') or diag(join(', ', keys %states));
my @told = slurp_file($node->logfile, $lines) =~ /LOG:  (connecting anew for partition \d of topic "items": .*)/g;
is(scalar @told, 2, 'fault 10: each subscription connects anew once, and says why') or diag(join("\n", @told));
like($told[0] // '', qr/partition [01] of topic "items": it has records up to offset 40, but none came from offset 20 on for \d\d s$/, 'fault 10: with the place');
is(join(' ', worker_pids($node)), $workers, 'all by the same workers');

# --- nothing is owed: silence is no stall
$lines = -s $node->logfile;
$proxy->command('starve');
my $connections = $proxy->connections;
wait_for(sub { $node->safe_psql('postgres', "SELECT min(extract(epoch FROM clock_timestamp() - last_receive_time)) > 50 FROM cdc_sink.pg_stat_cdc_sink_subscription") eq 't' }, 'a silence of 50 s', 120);
is($proxy->connections, $connections, 'an idle topic is left in peace');
unlike(slurp_file($node->logfile, $lines), qr/connecting anew/, 'and nothing is said of it');
$proxy->command('pass');

$node->stop('fast');
ok_no_crash($node);
done_testing();
