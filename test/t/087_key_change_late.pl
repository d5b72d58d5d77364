# The insert of a key change may be written, or become visible, long after its delete was applied: the row that the delete removed waits for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;

my $broker = CdcSink::Kafka->new;
my $node = new_read_side('late');
create_server($node, 'postgres', $broker->bootstrap);
$broker->create_topic('t', 2);
sub put { my ($partition, @records) = @_; $broker->produce('t', map { { %$_, partition => $partition } } @records); return; }
sub sql { return $node->safe_psql('postgres', $_[0]); }
my $long = 'x' x 3000;
sql(q(CREATE TABLE t (id int PRIMARY KEY, body text); SELECT cdc_sink.create_subscription('s', 'kafka'); SELECT cdc_sink.add_mapping('s', 't', 't')));

# The two halves of a key change, as Debezium writes them; the long value did not change, unless it is given.
sub halves
{
	my ($old, $new, $sequence, $body) = @_;
	my ($gone, $come) = (deleted({ id => $old, body => undef }), inserted({ id => $new, body => $body // '__debezium_unavailable_value' }));
	$gone->{headers} = [ [ '__debezium.newkey', encode_json({ id => $new }) ] ];
	$come->{headers} = [ [ '__debezium.oldkey', encode_json({ id => $old }) ] ];
	foreach my $half ($sequence ? ($gone, $come) : ())
	{
		my $value = decode_json($half->{value});
		$value->{source}{sequence} = encode_json([ undef, "$sequence" ]);
		$half->{value} = encode_json($value);
	}
	return ($gone, $come);
}
sub kept { return sql('SELECT count(*) FROM cdc_sink.moved_row'); }

put(0, inserted({ id => 1, body => $long }), inserted({ id => 3, body => $long }));
ok_caught_up($node, 's', 'rows are there');
my ($gone, $come) = halves(1, 2);
put(0, $gone);
# each answer means that the ends of all partitions were learned after what came before, and reached; twice, so that a commit stands between
foreach my $round (1 .. 3)
{
	ok_caught_up($node, 's', "round $round: the delete is applied, and all partitions are at their ends");
	put(1, inserted({ id => 100 + $round, body => 'other' }));
}
ok_caught_up($node, 's', 'and others go on');
put(0, inserted({ id => 1, body => 'another row of the old key' }));
ok_caught_up($node, 's', 'the old key is used anew');
put(1, $come);
ok_caught_up($node, 's', 'the insert comes at last');
is(sql(q(SELECT id, left(body, 7), length(body) FROM t WHERE id < 100 ORDER BY id)), "1|another|26\n2|xxxxxxx|3000\n3|xxxxxxx|3000", 'it has the value of its own row');
is(kept(), '0', 'which is kept no longer');

# --- with source.sequence the headers of an insert are read only where a row may have been kept for it
($gone, $come) = halves(2, 20, 1001);
put(0, $gone);
ok_caught_up($node, 's', 'a delete');
is(kept(), '1', 'keeps its row');
put(1, inserted({ id => 104, body => 'other' }), $come);
ok_caught_up($node, 's', 'its insert comes');
is(sql('SELECT length(body) FROM t WHERE id = 20'), '3000', 'and has the value');
is(kept(), '0', 'which is kept no longer');
($gone, $come) = halves(20, 21, 1002, 'every value');
put(0, $gone);
ok_caught_up($node, 's', 'another delete');
is(kept(), '1', 'keeps its row, too');
put(1, $come);
ok_caught_up($node, 's', 'its insert has every value');
is(kept(), '0', 'and takes it away nevertheless');
($gone, $come) = halves(21, 22, 1003, 'every value');
put(0, $gone);
ok_caught_up($node, 's', 'the worker ends between the two');
is(kept(), '1', 'the row is kept');
sql(q(SELECT cdc_sink.disable_subscription('s'); SELECT cdc_sink.enable_subscription('s')));
put(1, $come);
ok_caught_up($node, 's', 'the next one goes on');
is(kept(), '0', 'and knows of it');
put(0, halves(22, 23, 1004, 'every value'));
ok_caught_up($node, 's', 'both in one batch');
is(kept(), '0', 'leave nothing');
put(0, halves(23, 24, 1005));
ok_caught_up($node, 's', 'without the value, too');
is(sql('SELECT body FROM t WHERE id = 24'), 'every value', 'which is taken from the row that goes');
is(kept(), '0', 'and that is not kept');

# --- what nobody asks for goes in the end
($gone) = halves(3, 4);
put(0, $gone);
ok_caught_up($node, 's', 'a delete whose insert never comes');
is(kept(), '1', 'keeps its row');
sql(q(SELECT cdc_sink.disable_subscription('s'); UPDATE cdc_sink.moved_row SET kept_at = kept_at - interval '1 hour'; SELECT cdc_sink.enable_subscription('s')));
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cdc_sink.moved_row'), 'but not for ever');
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"workers": 2}')));
($gone) = halves(100 + 1, 5);
put(0, $gone);
ok_caught_up($node, 's', 'with several workers');
is(kept(), '1', 'the row is kept');
sql(q(SELECT cdc_sink.disable_subscription('s'); UPDATE cdc_sink.moved_row SET kept_at = kept_at - interval '1 hour'; SELECT cdc_sink.enable_subscription('s')));
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cdc_sink.moved_row'), 'and goes, too');
put(1, inserted({ id => 6, body => 'other' }));
ok_caught_up($node, 's', 'the workers go on');

$node->stop('fast');
ok_no_crash($node);
done_testing();
