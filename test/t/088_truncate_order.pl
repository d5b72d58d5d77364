# A truncate waits for the partitions that other workers read, and does not come behind what was written after it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('truncates');
create_server($node, 'postgres', $broker->bootstrap);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub rows { return sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM $_[0]"); }

# A record of a table with its place in the source.
sub at
{
	my ($place, $table, $record) = @_;
	my $value = decode_json($record->{value});
	$value->{source} = { name => 'shop', schema => 'public', table => $table, sequence => "[\"$place\",\"$place\"]" };
	return { key => $record->{key}, value => encode_json($value) };
}

sub truncated { return { key => undef, value => '{"before":null,"after":null,"op":"t","ts_ms":1}' }; }

# --- the record before the truncate is stuck in another worker, behind a record of another table
$broker->create_topic('both', 2);
sql(q(CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE locked (id int PRIMARY KEY, v text); INSERT INTO locked VALUES (7, 'old');
	SELECT cdc_sink.create_subscription('both', 'kafka', options => '{"workers": 2}');
	SELECT cdc_sink.add_mapping('both', 'both', 't', source_table => 'public.t');
	SELECT cdc_sink.add_mapping('both', 'both', 'locked', source_table => 'public.locked')));
$broker->produce('both', 0, at(1, 't', inserted({ id => 10 })));
$broker->produce('both', 1, at(2, 't', inserted({ id => 11 })));
ok_caught_up($node, 'both', 'two workers share the partitions');
is(rows('t'), '10 11', 'and have applied what is there');
my $session = $node->background_psql('postgres');
$session->query_until(qr/locked/, "BEGIN;\nUPDATE locked SET v = 'session';\n\\echo locked\n");
$broker->produce('both', 0, at(3, 'locked', updated({ id => 7, v => 'new' })), at(4, 't', inserted({ id => 1 })));
wait_for_state($node, 'both', qr/^waiting lock$/);
$broker->produce('both', 1, at(5, 't', truncated()), at(6, 't', inserted({ id => 2 })));
ok($node->poll_query_until('postgres', q(SELECT state <> 'streaming' OR next_offset > 1 FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'both' AND partition = 1)),
	'the truncate was read');
$session->query_until(qr/unlocked/, "ROLLBACK;\n\\echo unlocked\n");
$session->quit;
ok_caught_up($node, 'both', 'when the lock is gone');
is(rows('t'), '2', 'the truncate has removed what came before it in the other partition, and only that');
is(sql('SELECT v FROM locked'), 'new', 'nothing is lost');
$broker->produce('both', 0, at(7, 't', inserted({ id => 3 })));
ok_caught_up($node, 'both', 'the workers go on');
is(rows('t'), '2 3', 'with what comes later');

$node->stop('fast');
ok_no_crash($node);
done_testing();
