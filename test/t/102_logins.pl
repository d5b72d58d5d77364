# Faults 18, 19, 21, 22 of rights, logins and quotas: the view says what the broker says, and once that is mended the same worker goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for work_dir);
use CdcSink::Proxy;
use CdcSink::Workers;

my $kafka = CdcSink::Kafka->new(CdcSink::Kafka->authorizer, 'super.users' => 'User:ANONYMOUS', login => { admin => 'admin', sink => 'first' }, 'quota.window.num' => 2);
# resets connections, as a broker asks who one is only at their beginning
my $proxy = CdcSink::Proxy->new($kafka->login);
my $dir = work_dir('secrets');
chmod(0700, $dir);
my $node = new_read_side('logins', "cdc_sink.secrets_directory = '$dir'\n");

sub set_secret
{
	my $password = shift;
	open(my $f, '>', "$dir/new") or die $!;
	chmod(0600, "$dir/new");
	print $f $password;
	close($f);
	rename("$dir/new", "$dir/password") or die $!;
	return;
}

set_secret('first');
$node->safe_psql('postgres', <<SQL);
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "security.protocol" 'SASL_PLAINTEXT', "sasl.mechanism" 'PLAIN', "max.partition.fetch.bytes" '20000');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("sasl.username" 'sink', "sasl.password_file" 'password');
SQL
my $oracle = CdcSink::Oracle->new($node, $kafka);
my ($rows, $log) = $oracle->subscriptions;
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));

sub hint { return $node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$rows'"); }

# --- rights
$kafka->deny('topic', 'items', 'READ');
wait_for_state($node, $_, qr/^retrying topic_not_authorized$/) foreach $rows, $log;
$oracle->produce(20);
is($oracle->seen, 40, 'fault 18: nothing comes while the right is missing');
$kafka->allow('topic', 'items', 'READ');
$oracle->ok_clean('fault 18: a right that was taken away and given back');
$kafka->deny('group', '*', 'READ');
$proxy->command('reset');
$oracle->produce(20);
$oracle->ok_clean('fault 18: no right on any group, which is not used');
$kafka->allow('group', '*', 'READ');
# as seen by who never had it
$kafka->deny('topic', 'items', 'DESCRIBE');
$node->restart;
wait_for_state($node, $_, qr/^retrying topic_not_authorized$|^waiting topic_missing$/) foreach $rows, $log;
$oracle->produce(20);
$kafka->allow('topic', 'items', 'DESCRIBE');
$oracle->ok_clean('fault 18: a topic that could not even be described');
$workers = join(' ', wait_for_workers($node, 'postgres', 2));

# --- the password is another one, in the file of the secret later
$kafka->set_logins(admin => 'admin', sink => 'second');
wait_for_state($node, $_, qr/^retrying auth_error$/) foreach $rows, $log;
unlike(hint(), qr/first|second/, 'fault 19: the hint tells no password');
$oracle->produce(20);
set_secret('second');
$oracle->ok_clean('fault 19: a password that was changed');
is(join(' ', worker_pids($node)), $workers, 'fault 19: by the same workers');
# --- the user is gone; the mapping names another one then
$kafka->set_logins(admin => 'admin');
wait_for_state($node, $_, qr/^retrying auth_error$/) foreach $rows, $log;
$oracle->produce(20);
set_secret('admin');
$node->safe_psql('postgres', q(ALTER USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS (SET "sasl.username" 'admin')));
$oracle->ok_clean('fault 19: a user that was removed');
is(join(' ', worker_pids($node)), $workers, 'fault 19: by the same workers, too');
unlike(slurp_file($node->logfile), qr/\b(?:first|second)\b/, 'fault 19: the log tells no password');

# --- no token is ever asked for
foreach my $option ('"sasl.mechanism" \'OAUTHBEARER\'', '"sasl.oauthbearer.token.endpoint.url" \'http://127.0.0.1:1/token\'', '"sasl.oauthbearer.method" \'oidc\'')
{
	my ($code, $out, $err) = $node->psql('postgres', qq{CREATE SERVER token FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" 'x:1', $option)});
	like($err, qr/ERROR: .*sasl\./, "fault 21: refused: $option");
}

# --- a quota makes it slower, and the view shows how far it is
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('$_')") foreach $rows, $log;
$kafka->set_quota(20_000);
# batches that are small: the broker counts after it has sent one
$oracle->produce(25) foreach 1 .. 8;
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('$_')") foreach $rows, $log;
eval { wait_for(sub { $node->safe_psql('postgres', "SELECT bool_or(state = 'catching_up' AND lag_records > 0 AND next_offset > 120) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription IN ('$rows', '$log')") eq 't' },
	'the lag is seen', 30) };
is($@, '', 'fault 22: a quota is seen as lag') or diag(show_views($node));
$kafka->set_quota(0);
$oracle->ok_clean('fault 22: a quota');

$node->stop('fast');
ok_no_crash($node);
done_testing();
