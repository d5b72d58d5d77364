# Faults 2 and 20: certificates that a client must refuse, new ones that it must take, and signals to workers that talk TLS. There is no way back
# to plain text. The broker's TLS is spoken by a proxy, which changes its certificate at once.
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
use CdcSink::Process qw(source_dir wait_for work_dir);
use CdcSink::Proxy;
use CdcSink::Workers;

my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my $dir = work_dir('tls');
system_or_bail('bash', '-c', <<'BASH', 'bash', source_dir(), $dir);
set -e
. "$1/test/lib/kafka_tls.sh"
cd "$2"
kafka_tls_ca . ca
kafka_tls_ca . other_ca
kafka_tls_cert . first DNS:localhost,IP:127.0.0.1
kafka_tls_cert . second DNS:localhost,IP:127.0.0.1
kafka_tls_cert . expired DNS:localhost,IP:127.0.0.1 0
kafka_tls_cert . elsewhere DNS:elsewhere.example,IP:127.0.0.99
kafka_tls_cert . stranger DNS:localhost,IP:127.0.0.1 365 other_ca
kafka_tls_cert . client DNS:client
BASH
my $secrets = work_dir('secrets');

sub set_secret
{
	my ($name, $file) = @_;
	system_or_bail('cp', "$dir/$file", "$secrets/new");
	chmod(0600, "$secrets/new");
	rename("$secrets/new", "$secrets/$name") or die $!;
	return;
}

set_secret('ca.crt', 'ca.crt');
my $broker = CdcSink::MockBroker->new;
my $proxy = CdcSink::Proxy->new($broker->bootstrap);
sub speak_as { my ($name, @ca) = @_; $proxy->command('tls', "$dir/$name.crt", "$dir/$name.key", map { "$dir/$_.crt" } @ca); return; }

speak_as('first');
my $node = new_read_side('certificates', "cdc_sink.secrets_directory = '$secrets'\n");
$node->safe_psql('postgres', <<SQL);
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "security.protocol" 'SSL');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("ssl.ca.pem_file" 'ca.crt');
SQL
my $oracle = CdcSink::Oracle->new($node, $broker, options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 10}');
my ($rows, $log) = $oracle->subscriptions;
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));
sub hint { return $node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$rows'"); }

# The fault is shown and nothing comes through; then it is mended.
sub ok_refused
{
	my ($title, $state, $hint, $mend) = @_;
	my $seen = $oracle->seen;
	wait_for_state($node, $_, $state) foreach $rows, $log;
	$oracle->produce(20);
	my $told = '';
	eval { wait_for(sub { ($told = hint()) =~ $hint }, 'the hint', 20) };
	like($told, $hint, "fault 20: $title: the view says so");
	is($oracle->seen, $seen, "fault 20: $title: nothing comes through");
	$mend->();
	$oracle->ok_clean("fault 20: $title, then mended");
	is(join(' ', worker_pids($node)), $workers, "fault 20: $title: the same workers go on");
	return;
}

speak_as('expired');
ok_refused('an expired certificate', qr/^retrying tls_error$/, qr/the broker's certificate has expired/, sub { speak_as('second') });
speak_as('elsewhere');
ok_refused('a certificate of another host', qr/^retrying tls_error$/, qr/the broker's certificate is for another host name/, sub { speak_as('first') });
speak_as('stranger');
ok_refused('a certificate of another authority', qr/^retrying tls_error$/, qr/signed by no authority in ssl\.ca\.pem/, sub { set_secret('ca.crt', 'other_ca.crt') });
speak_as('first', 'ca');
set_secret('ca.crt', 'ca.crt');
set_secret('client.crt', 'client.crt');
set_secret('client.key', 'client.key');
ok_refused(
	'a client without the certificate that it is asked for',
	qr/^retrying tls_error$/,
	qr/SSL alert|certificate required|handshake/i,
	sub { $node->safe_psql('postgres', q(ALTER USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS (ADD "ssl.certificate.pem_file" 'client.crt', ADD "ssl.key.pem_file" 'client.key'))) });
$proxy->command('plain');
ok_refused('a broker that speaks plain text', qr/^retrying (?:tls_error|broker_down)$/, qr/SSL|Disconnected|connection/i, sub { speak_as('first') });
# the connection is sound: what breaks then is that of the new client
$node->safe_psql('postgres', q(ALTER SERVER kafka OPTIONS (SET "security.protocol" 'PLAINTEXT')));
ok_refused('a client that speaks plain text', qr/^retrying broker_down$/, qr/Disconnected|SSL|connection|timed out/i,
	sub { $node->safe_psql('postgres', q(ALTER SERVER kafka OPTIONS (SET "security.protocol" 'SSL'))) });

# --- signals at random points, while records come through TLS
my $slowest = 0;
foreach my $signal ((qw(TERM TERM INT HUP)) x ($ENV{CDC_SINK_FULL} ? 50 : 6))
{
	$oracle->produce(30);
	my $pid = wait_for(sub { (worker_pids($node))[ int(rand(2)) ] }, 'a worker');
	usleep(int(rand(20_000)));
	my $start = time;
	kill($signal, $pid);
	if ($signal eq 'TERM')
	{
		wait_for(sub { !-e "/proc/$pid" }, 'the worker ends');
		$slowest = time - $start if time - $start > $slowest;
	}
}
cmp_ok($slowest, '<', 2.5, 'fault 2: a terminated worker ends within 2 s');
$oracle->ok_clean('fault 2: signals at random points, TLS on');
# a reload is one
my $pids = join(' ', wait_for_workers($node, 'postgres', 2));
$node->append_conf('postgresql.conf', "cdc_sink.allowed_brokers = '127.0.0.2:9092'");
$node->reload;
wait_for_state($node, $_, qr/^retrying broker_not_allowed$/) foreach $rows, $log;
$node->append_conf('postgresql.conf', "cdc_sink.allowed_brokers = ''");
$oracle->produce(20);
$node->reload;
$oracle->ok_clean('fault 2: settings are read at SIGHUP');
is(join(' ', worker_pids($node)), $pids, 'fault 2: by the same workers');

# --- a second client, with the certificate and key of the first
sub clients
{
	my @threads = map { slurp_file($_) } map { glob("/proc/$_/task/*/comm") } worker_pids($node);
	return scalar grep { $_ eq "rdk:main\n" } @threads;
}

speak_as('first', 'ca');
my %old = map { $_ => 1 } wait_for_workers($node, 'postgres', 2);
kill('TERM', keys %old);
wait_for(sub { return 2 == grep { !$old{$_} } worker_pids($node) }, 'new workers');
$oracle->produce(20);
wait_for_state($node, $_, qr/^streaming$/) foreach $rows, $log;
wait_for(sub { return clients() == 2 }, 'two workers with a client each', 60);
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_catchup('$rows')"), 't', 'what wait_for_catchup asks');
is(clients(), 3, 'has another one, with the key of the first');
$oracle->ok_clean('with certificates of both sides');

# --- settings that OpenSSL refuses
my (undef, undef, $refused) = $node->psql('postgres', qq{
	CREATE SERVER refused FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "security.protocol" 'SSL', "ssl.cipher.suites" 'nonsense');
	SELECT * FROM cdc_sink.check_server('refused')});
like($refused, qr/could not create the Kafka client/, 'ciphers that do not exist are an error');

$node->stop('fast');
ok_no_crash($node);
done_testing();
