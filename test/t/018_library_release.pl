# Releases of librdkafka with a known defect: the worker says so in the log and in its view, and works.
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
use CdcSink::Process qw(work_dir);

my $db = 'postgres';
my $warning = qr/librdkafka 2\.4\.0 to 2\.10\.0 can corrupt/;

# a library before librdkafka that tells another release, whichever is installed
my $dir = work_dir('release');
append_to_file("$dir/release.c", <<'C');
#include <stdlib.h>
int rd_kafka_version(void) { return (int) strtol(getenv("CDC_TEST_RELEASE"), NULL, 16); }
C
system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$dir/release.so", "$dir/release.c");

my $broker = CdcSink::MockBroker->new;
$broker->create_topic('t', 1);
my $node = new_read_side('library_release');
create_server($node, $db, $broker->bootstrap);
$node->safe_psql($db, <<SQL);
CREATE TABLE t (id int PRIMARY KEY);
SELECT cdc_sink.create_subscription('s', 'kafka');
SELECT cdc_sink.add_mapping('s', 't', 't');
SQL

my $id = 0;
foreach (['020300ff', 0], ['020400ff', 1], ['020a00ff', 1], ['020a01ff', 0])
{
	my ($release, $warned) = @$_;
	my $log = -s $node->logfile;
	$node->stop;
	{
		local $ENV{LD_PRELOAD} = "$dir/release.so";
		local $ENV{CDC_TEST_RELEASE} = $release;
		$node->start;
	}
	$broker->produce('t', 0, inserted({ id => ++$id }));
	ok_caught_up($node, 's', "$release: the worker applies");
	is($node->safe_psql($db, 'SELECT count(*) FROM t'), $id, "$release: what was sent");
	my $hint = $node->safe_psql($db, q(SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription));
	my $library = $node->safe_psql($db, q(SELECT ok, detail FROM cdc_sink.check_server('kafka') WHERE item = 'library'));
	my $text = slurp_file($node->logfile, $log);
	if ($warned)
	{
		like($text, qr/WARNING:  $warning/, "$release: the log warns");
		like($hint, qr/^$warning/, "$release: the view warns");
		like($library, qr/^f\|.*$warning/, "$release: check_server warns");
	}
	else
	{
		unlike($text, $warning, "$release: no warning in the log");
		is($hint, '', "$release: nor in the view");
		like($library, qr/^t\|/, "$release: nor from check_server");
	}
}

ok_no_crash($node);
done_testing();
