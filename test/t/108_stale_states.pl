# What was published of a partition before a change tells nothing after it: of a mapping that is gone, of a stop that was lifted, of a position that was set back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('stale');
create_server($node, 'postgres', $broker->bootstrap);
$broker->create_topic($_, 1) foreach qw(good bad);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sql(q(CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE bad (id int PRIMARY KEY, n int);
	SELECT cdc_sink.create_subscription('s', 'kafka'); SELECT cdc_sink.add_mapping('s', 'good', 'good'); SELECT cdc_sink.add_mapping('s', 'bad', 'bad')));
$broker->produce('good', 0, map { inserted({ id => $_ }) } 1 .. 6);
$broker->produce('bad', 0, inserted({ id => 1, n => 3000000000 }));
wait_for_state($node, 's', qr/^stopped data_error$/);

# --- the stop was lifted, and its worker has not come to the partition yet
$broker->down;
sql(q(SELECT cdc_sink.enable_subscription('s')));
my ($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.wait_for_catchup('s', '8 s')");
is("$out$err", 'f', 'a stop from before enable_subscription does not end a wait');
unlike(subscription_state($node, 's'), qr/^stopped/, 'nor is it shown');
$broker->up;
wait_for_state($node, 's', qr/^stopped data_error$/);
pass('until it stops again');

# --- the mapping is gone
sql(q(SELECT cdc_sink.remove_mapping('s', 'bad')));
ok_caught_up($node, 's', 'the other topic goes on');
wait_for_state($node, 's', qr/^streaming/);
pass('what is not mapped any more is not stopped any more');
is(sql(q(SELECT partitions || ' ' || partitions_stopped FROM cdc_sink.pg_stat_cdc_sink_subscription)), '1 0', 'nor counted');

# --- the position was set back
is(sql(q(SELECT cdc_sink.wait_for_offset('s', 'good', 0, 5))), 't', 'all is applied');
sql(q(SELECT cdc_sink.disable_subscription('s'); SELECT cdc_sink.set_position('s', 'good', 0, '0')));
$broker->down;
sql(q(SELECT cdc_sink.enable_subscription('s')));
is(sql(q(SELECT cdc_sink.wait_for_offset('s', 'good', 0, 3, '2 s'))), 'f', 'after set_position what was applied before does not count');
$broker->up;
is(sql(q(SELECT cdc_sink.wait_for_offset('s', 'good', 0, 3))), 't', 'until it is applied again');

$node->stop('fast');
ok_no_crash($node);
done_testing();
