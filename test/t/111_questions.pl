# wait_for_catchup is answered at once where nothing happens: its questions do not stand behind a fetch that waits for records. They need connections of
# their own for that, and do without where there are none to be had.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);
use CdcSink::Proxy;

my $kafka = CdcSink::Kafka->new;
$kafka->create_topic('calm', 1);
my $proxy = CdcSink::Proxy->new($kafka->bootstrap);
my $node = new_read_side('questions');
$node->safe_psql('postgres', qq{
	CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "fetch.wait.max.ms" '5000');
	CREATE TABLE calm (id int PRIMARY KEY, v text);
	SELECT cdc_sink.create_subscription('calm', 'kafka');
	SELECT cdc_sink.add_mapping('calm', 'calm', 'calm');
});

sub put { $kafka->produce('calm', inserted({ id => $_[0], v => 'x' })); return; }
sub caught_up { return $node->safe_psql('postgres', "SELECT cdc_sink.wait_for_catchup('calm', '$_[0]')"); }
sub rows { return $node->safe_psql('postgres', 'SELECT count(*) FROM calm'); }

# --- not behind the fetch
wait_for_state($node, 'calm', qr/^streaming$/);
my $alone = $proxy->connections;
is(caught_up('3 s'), 't', "within a fetch of an idle topic it is caught up, $_") foreach 'at first', 'and again';
cmp_ok($proxy->connections, '>', $alone, 'by connections of their own');
put(1);
is(caught_up('30 s'), 't', 'caught up with a record');
is(rows(), '1', 'which is there');
$kafka->add_partitions('calm', 2);
$kafka->produce('calm', { %{ inserted({ id => 2, v => 'x' }) }, partition => 1 });
is(caught_up('60 s'), 't', 'and with one in a new partition');
is(rows(), '2', 'which is there, too');

# --- no new connections
$node->safe_psql('postgres', 'ALTER SERVER kafka OPTIONS (DROP "fetch.wait.max.ms")');
is(caught_up('30 s'), 't', 'with another client');
my $open = $proxy->open_connections;
wait_for(sub { return $proxy->open_connections < $open }, 'the end of connections', 60);
pass('connections for questions are closed when none were asked for a while');
$proxy->command('full');
put(3);
is(caught_up('30 s'), 't', 'without new connections it is caught up');
is(rows(), '3', 'with the new row');
is(subscription_state($node, 'calm'), 'streaming', 'and nothing else is seen of that');
$proxy->command('pass');

$node->stop('fast');
ok_no_crash($node);
done_testing();
