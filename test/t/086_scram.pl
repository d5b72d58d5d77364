# SCRAM against a real broker: a login that is refused is tried again with the secret of the moment.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Node;
use CdcSink::Process qw(source_dir wait_for work_dir);
use CdcSink::SecureKafka;

my $jars = $ENV{CDC_SINK_SCRAM} || ($ENV{CDC_SINK_FULL} ? qx{'@{[ source_dir() ]}/scripts/lib/jars.py' scram} : '');
chomp $jars;
plan skip_all => 'SCRAM needs the jars of another broker: scripts/test --full' if $jars eq '';

my $secrets = work_dir('secrets');
my $node = new_read_side('login', "cdc_sink.secrets_directory = '$secrets'\n");
my $ids = 0;
sub sql { return $node->safe_psql('postgres', $_[0]); }

# Puts a password into its file, in one step as an administrator should.
sub put
{
	my ($name, $text) = @_;
	unlink("$secrets/$name.new");
	append_to_file("$secrets/$name.new", "$text\n");
	chmod(0600, "$secrets/$name.new");
	rename("$secrets/$name.new", "$secrets/$name") or die $!;
	return;
}

# A subscription of one topic that logs in by a mechanism, with the password that the file holds.
sub subscribe
{
	my ($kafka, $name, $mechanism, $user) = @_;
	my $ca = slurp_file($kafka->dir . '/ca.crt');
	sql(qq{CREATE SERVER $name FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[ $kafka->address('SASL_SSL') ]}', "security.protocol" 'SASL_SSL', "sasl.mechanism" '$mechanism', "ssl.ca.pem" '$ca');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ("sasl.username" '$user', "sasl.password_file" '$name');
		CREATE TABLE $name (id int PRIMARY KEY, v text);
		SELECT cdc_sink.create_subscription('$name', '$name', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
		SELECT cdc_sink.add_mapping('$name', '$name', '$name')});
	return;
}

# A record comes through, without help.
sub ok_reads
{
	my ($kafka, $name, $title) = @_;
	$kafka->produce($name, inserted({ id => ++$ids, v => 'v' }));
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM $name WHERE id = $ids") or diag(show_views($node));
	ok_caught_up($node, $name, $title);
	return;
}

sub ok_refused
{
	my ($name, $title) = @_;
	eval { wait_for_state($node, $name, qr/^retrying auth_error$/) };
	is($@, '', $title);
	return;
}

# librdkafka before 2.6.1 cannot log in by SCRAM at Kafka 4, so this is an older broker
{
	my $kafka = CdcSink::SecureKafka->new(libs => "$jars/libs");
	my $entity = sub { $kafka->admin('kafka.admin.ConfigCommand', '--alter', '--entity-type', 'users', '--entity-name', 'writer', @_) };
	foreach my $mechanism ('SCRAM-SHA-256', 'SCRAM-SHA-512')
	{
		my $name = 'by_' . lc($mechanism =~ s/-/_/gr);
		$kafka->produce($name, inserted({ id => ++$ids, v => 'v' }));
		put($name, 'not-the-one');
		$entity->('--add-config', "$mechanism=[password=first-one]");
		subscribe($kafka, $name, $mechanism, 'writer');
		ok_refused($name, "fault 19: $mechanism: a wrong password is shown as auth_error");
		put($name, 'first-one');
		ok_reads($kafka, $name, "fault 19: $mechanism: with the right one in the file it goes on by itself");

		$entity->('--add-config', "$mechanism=[password=second-one]");
		$kafka->stop;
		$kafka->start;
		ok_refused($name, "fault 19: $mechanism: a password that was changed is refused");
		put($name, 'second-one');
		ok_reads($kafka, $name, "fault 19: $mechanism: with the new one in the file it goes on by itself");

		$entity->('--delete-config', $mechanism);
		$kafka->stop;
		$kafka->start;
		ok_refused($name, "fault 19: $mechanism: a user that was deleted is refused");
		$entity->('--add-config', "$mechanism=[password=second-one]");
		ok_reads($kafka, $name, "fault 19: $mechanism: made again, it goes on by itself");
	}
}

my $log = slurp_file($node->logfile);
unlike($log, qr/first-one|second-one|not-the-one/, 'no password in the log');
$node->stop('fast');
ok_no_crash($node);
done_testing();
