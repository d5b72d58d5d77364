# faults 24, 25: records of a hundred megabytes, and small batches that become huge when they are unpacked. What fits is applied, what does not
# stops its partition; the server lives.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $kafka = CdcSink::Kafka->new('message.max.bytes' => 150_000_000, 'replica.fetch.max.bytes' => 150_000_000, 'socket.request.max.bytes' => 200_000_000);
my $node = new_read_side('large', "restart_after_crash = on\n");
create_server($node, 'postgres', $kafka->bootstrap);

# One insert with a text or document of so many million characters, in a batch of a compression.
sub put
{
	my ($topic, $id, $millions, $codec, $field) = @_;
	my ($python) = $kafka->tool;
	system_or_bail($python, '-c', <<'PYTHON', $kafka->bootstrap, $topic, $id, $millions, $codec, $field);
import sys
from confluent_kafka import Producer
broker, topic, number, millions, codec, field = sys.argv[1:]
lost = []
producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 1000000000, "compression.type": codec, "queue.buffering.max.kbytes": 2000000,
                     "message.timeout.ms": 120000, "request.timeout.ms": 120000, "socket.timeout.ms": 120000})
text = "v" * (int(millions) * 1000000)
value = '{"k": "%s"}' % text if field == "d" else text
value = value.replace('"', '\\"')
producer.produce(topic, key='{"id": %s}' % number, partition=0, on_delivery=lambda error, _: lost.append(error) if error else None,
                 value='{"before": null, "after": {"id": %s, "%s": "%s"}, "op": "c", "ts_ms": 1, "source": {"schema": "public", "table": "t"}}' % (number, field, value))
if producer.flush(200) or lost:
    sys.exit(str(lost))
PYTHON
	return;
}

sub make_subscription
{
	my $name = shift;
	$kafka->create_topic($name, 2, 'max.message.bytes=150000000');
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE $name (id int PRIMARY KEY, v text, d jsonb);
SELECT cdc_sink.create_subscription('$name', 'kafka');
SELECT cdc_sink.add_mapping('$name', '$name', '$name');
SQL
	return;
}

sub memory
{
	my $name = shift;
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$name'");
	return -e "/proc/$pid" && slurp_file("/proc/$pid/status") =~ /VmHWM:\s+(\d+)/ ? $1 / 1024 : 0;
}

# --- under the client's limit of 100 MB
make_subscription('plain');
put('plain', 1, 90, 'none', 'v');
put('plain', 2, 1, 'none', 'v');
ok_caught_up($node, 'plain', 'fault 24: a record of 90 MB');
is($node->safe_psql('postgres', 'SELECT id, length(v) FROM plain ORDER BY id'), "1|90000000\n2|1000000", 'fault 24: it is there, and the next one');
note(sprintf('the worker had at most %d MB', memory('plain')));

# --- above it: seen, other partitions go on, and it can be passed
make_subscription('above');
put('above', 1, 110, 'none', 'v');
wait_for_state($node, 'above', qr/^(?:retrying oversized_response|stopped record_too_large)$/);
like($node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'above'"), qr/receive\.message\.max\.bytes|size/i, 'fault 24: a record above the limit is told');
put('above', 2, 1, 'none', 'v');
$node->safe_psql('postgres', <<'SQL');
SELECT cdc_sink.disable_subscription('above');
SELECT cdc_sink.set_position('above', 'above', 0, '1');
SELECT cdc_sink.enable_subscription('above');
SQL
ok_caught_up($node, 'above', 'fault 24: and passed by set_position');
is($node->safe_psql('postgres', 'SELECT id FROM above'), 2, 'fault 24: the next record is applied');

# --- above what the server's types hold: an error, not a crash
make_subscription('documents');
put('documents', 1, 300, 'lz4', 'd');
wait_for_state($node, 'documents', qr/^stopped data_error$/);
like($node->safe_psql('postgres', "SELECT message || ' ' || coalesce(detail, '') FROM cdc_sink.pg_stat_cdc_sink_error WHERE subscription = 'documents' LIMIT 1"),
	qr/too long|too large|exceed|invalid memory/i, 'fault 24: a document above what jsonb holds is an error');

# --- batches of some hundred kilobytes that unpack to 400 MB; those of snappy are a block that the broker, too, has to hold
foreach my $codec (qw(gzip lz4 snappy zstd))
{
	my $millions = $codec eq 'snappy' ? 100 : 400;
	make_subscription($codec);
	put($codec, 1, $millions, $codec, 'v');
	put($codec, 2, 1, $codec, 'v');
	wait_for_state($node, $codec, qr/^(?:streaming|stopped \w+|retrying \w+)$/);
	my $state = '';
	wait_for(
		sub {
			$state = subscription_state($node, $codec);
			return $state =~ /^stopped|^retrying (?:oversized|corrupt)/ || $node->safe_psql('postgres', "SELECT count(*) FROM $codec") == 2;
		},
		"$codec ends somehow");
	note(sprintf("$codec: $state, the worker had at most %d MB", memory($codec)));
	cmp_ok(memory($codec), '<', 4096, "fault 25: a bomb of $codec: memory is bounded");
	ok($node->safe_psql('postgres', "SELECT count(*) = 2 AND min(length(v)) = 1000000 AND max(length(v)) = ${millions}000000 FROM $codec") eq 't' || $state =~ /^(?:stopped|retrying)/,
		"fault 25: a bomb of $codec: applied, or told");
	$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('$codec')");
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
