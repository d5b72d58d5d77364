# Workers that end by an error while TLS connections are under way, of consumer and producer, again and again, never take the server down.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);
use CdcSink::SecureKafka;

my $exits = $ENV{CDC_SINK_FULL} ? 1000 : 240;
my $workers = 4;

my $node = new_read_side('tls', "cdc_sink.debug_fail_at = ''\n");
if (($node->psql('postgres', 'SHOW cdc_sink.debug_fail_at'))[0] != 0
	or $node->safe_psql('postgres', "SELECT context FROM pg_settings WHERE name = 'cdc_sink.debug_fail_at'") ne 'sighup')
{
	$node->stop;
	plan skip_all => 'needs a library built with DEVELOPER=1, which has cdc_sink.debug_fail_at';
}

my $kafka = CdcSink::SecureKafka->new;
my $dir = $kafka->dir;
$kafka->produce('rows', (map { inserted({ id => $_, v => 'v' x 500 }) } 1 .. 5000), { key => 'bad', value => 'no JSON' });

mkdir "$dir/secrets" or die $!;
rename("$dir/client.key", "$dir/secrets/client.key") or die $!;
system_or_bail('cp', "$dir/client.crt", "$dir/ca.crt", "$dir/secrets/");
chmod(0600, glob("$dir/secrets/*"));
$node->append_conf('postgresql.conf', "cdc_sink.secrets_directory = '$dir/secrets'");
$node->reload;
$node->safe_psql('postgres', <<SQL);
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[ $kafka->address('SSL') ]}', "security.protocol" 'SSL');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("ssl.ca.pem_file" 'ca.crt', "ssl.certificate.pem_file" 'client.crt', "ssl.key.pem_file" 'client.key');
SQL
foreach my $i (1 .. $workers)
{
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE rows$i (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('s$i', 'kafka', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 10, "batch_rows": 100,
	"on_error": "dead_letter", "dead_letter_topic": "letters$i"}');
SELECT cdc_sink.add_mapping('s$i', 'rows', 'rows$i');
SQL
	ok_caught_up($node, "s$i", "subscription $i reads through TLS");
	$node->poll_query_until('postgres', "SELECT count(published_at) = 1 FROM cdc_sink.dead_letter WHERE subscription = 's$i'") or die 'the dead letter is not published';
	pass("and publishes a dead letter through TLS");
	# what is read and published anew while the workers fall
	$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s$i'); SELECT cdc_sink.set_position('s$i', 'rows', 0, 'earliest'); TRUNCATE rows$i;
		UPDATE cdc_sink.dead_letter SET unpublished = true WHERE subscription = 's$i'");
}

my $postmaster = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $log = -s $node->logfile;
$node->append_conf('postgresql.conf', "cdc_sink.debug_fail_at = 'connected'");
$node->reload;
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s$_')") foreach 1 .. $workers;

# Ends by the error so far.
sub count_exits { return scalar(() = slurp_file($node->logfile, $log) =~ /cdc_sink apply worker (?:ERROR|FATAL):  .*connected/g); }

eval { wait_for(sub { count_exits() >= $exits }, "$exits exits", 10 * $PostgreSQL::Test::Utils::timeout_default) };
cmp_ok(count_exits(), '>=', $exits, "$exits workers ended by the error after they had connected");
$node->append_conf('postgresql.conf', "cdc_sink.debug_fail_at = ''");
$node->reload;
foreach my $i (1 .. $workers)
{
	ok_caught_up($node, "s$i", "subscription $i goes on by itself");
	is($node->safe_psql('postgres', "SELECT count(*), sum(length(v)) FROM rows$i"), '5000|2500000', 'with all rows');
	$node->poll_query_until('postgres', "SELECT NOT unpublished FROM cdc_sink.dead_letter WHERE subscription = 's$i'") or die 'the dead letter is not published again';
}
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $postmaster, 'the server is the same');

$node->stop('fast');
ok_no_crash($node);
done_testing();
