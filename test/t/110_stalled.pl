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
# what is silent for 10 s, and may not be, has stalled
$node->safe_psql('postgres', qq{CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "socket.timeout.ms" '2000')});
my $oracle = CdcSink::Oracle->new($node, $broker);
my ($rows, $log) = $oracle->subscriptions;
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));

# --- the worker
my $lines = -s $node->logfile;
$proxy->command('starve');
$oracle->produce(20);
wait_for(sub { $node->safe_psql('postgres', "SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE end_offset > next_offset") eq '4' }, 'ends behind what is read');
unlike($node->safe_psql('postgres', 'SELECT string_agg(state_reason, $$ $$) FROM cdc_sink.pg_stat_cdc_sink_partition'), qr/waiting_for_transaction/,
	'fault 10: what is committed does not wait for a transaction');
$oracle->ok_clean('fault 10: starved connections');
my @told = slurp_file($node->logfile, $lines) =~ /LOG:  (partition \d of topic "items" has records up to offset \d+, but nothing came behind offset \d+ for 1\d s: connecting anew)/g;
is(scalar @told, 2, 'fault 10: each subscription connects anew once, and says why') or diag(join("\n", @told));
like($told[0] // '', qr/partition [01] of topic "items" has records up to offset 40, but nothing came behind offset 20 /, 'fault 10: with the place');
is(join(' ', worker_pids($node)), $workers, 'all by the same workers');

# --- nothing is owed: silence is no stall
$lines = -s $node->logfile;
$proxy->command('starve');
my $connections = $proxy->connections;
wait_for(sub { $node->safe_psql('postgres', "SELECT min(extract(epoch FROM clock_timestamp() - last_receive_time)) > 15 FROM cdc_sink.pg_stat_cdc_sink_subscription") eq 't' }, 'a silence of 15 s', 60);
is($proxy->connections, $connections, 'an idle topic is left in peace');
unlike(slurp_file($node->logfile, $lines), qr/connecting anew/, 'and nothing is said of it');
$proxy->command('pass');

# --- run_batches
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('$_')") foreach $rows, $log;
$proxy->command('starve', 'all');
$oracle->produce(20);
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nCALL cdc_sink.run_batches('$rows')");
like($err, qr/ERROR:  08006: partition \d of topic "items" has records up to offset 60, but nothing comes behind offset 40\nHINT:  Call it again/, 'run_batches says what it waits for');
$proxy->command('pass');
$node->safe_psql('postgres', "CALL cdc_sink.run_batches('$_')") foreach $rows, $log;
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('$_')") foreach $rows, $log;
$oracle->ok_clean('run_batches goes on when it is called again');

$node->stop('fast');
ok_no_crash($node);
done_testing();
