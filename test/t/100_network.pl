# Faults 6 to 9 of the way to a real broker: nothing there, silence, resets, slowness, names that do not resolve or move. Each is shown by the
# view while it lasts and passes by itself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for work_dir);
use CdcSink::Proxy;
use CdcSink::Workers;

my $kafka = CdcSink::Kafka->new;
my $proxy = CdcSink::Proxy->new($kafka->bootstrap);
my ($port) = $proxy->bootstrap =~ /:(\d+)$/;

# a resolver before the system's: a file says which name is which address
my $dir = work_dir('names');
my $hosts = "$dir/hosts";
append_to_file("$dir/resolver.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	const char *file = getenv("CDC_TEST_HOSTS");
	FILE	   *f = file != NULL && node != NULL && strcmp(node, "kafka.invalid") == 0 ? fopen(file, "r") : NULL;
	char		address[64] = "";

	if (f == NULL)
		return next(node, service, hints, res);
	if (fscanf(f, "%63s", address) != 1)
		address[0] = '\0';
	fclose(f);
	if (address[0] == '\0')
		return EAI_AGAIN;
	return next(address, service, hints, res);
}
C
system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$dir/resolver.so", "$dir/resolver.c", '-ldl');

sub resolve
{
	my $address = shift;
	unlink $hosts;
	append_to_file($hosts, "$address\n");
	return;
}

resolve('');
my $node;
{
	local $ENV{LD_PRELOAD} = "$dir/resolver.so";
	local $ENV{CDC_TEST_HOSTS} = $hosts;
	$node = new_read_side('network');
}
# a broker that says nothing is given up after 2 s, the least that is allowed; on a slow way answers must be small to come within
$node->safe_psql('postgres', <<SQL);
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:$port', "socket.timeout.ms" '2000', "max.partition.fetch.bytes" '20000');
CREATE SERVER named FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" 'kafka.invalid:$port,nobody.invalid:$port');
SQL

# --- nothing listens, and the server starts
$proxy->command('refuse');
my $oracle = CdcSink::Oracle->new($node, $kafka);
my ($rows, $log) = $oracle->subscriptions;
wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log;
my $workers = join(' ', worker_pids($node));
my $start = time;
{
	local $ENV{LD_PRELOAD} = "$dir/resolver.so";
	local $ENV{CDC_TEST_HOSTS} = $hosts;
	$node->restart;
}
cmp_ok(time - $start, '<', 5, 'fault 6: the server starts at once where no broker is');
wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log;
like($node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$rows'"), qr/127\.0\.0\.1:$port/, 'fault 6: the view names the broker');
$workers = join(' ', wait_for_workers($node, 'postgres', 2));
$oracle->produce(50);
$proxy->command('pass');
$oracle->ok_clean('fault 6: a broker that was not there at the start');

# From here on no worker ends: what breaks is the way.
sub ok_passes
{
	my ($title, $during, @fault) = @_;
	$oracle->produce(20);
	$proxy->command(@fault);
	$oracle->produce(200, 500);
	$during->() if $during;
	$proxy->command('pass');
	$oracle->produce(20);
	$oracle->ok_clean($title);
	is(join(' ', worker_pids($node)), $workers, "$title: by the same workers");
	wait_for_state($node, $_, qr/^streaming/) foreach $rows, $log;
	return;
}

my $before;
ok_passes('fault 7: silence', sub { wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log }, 'drop');
ok_passes('fault 7: a broker that is stopped in its tracks',
	sub {
		kill('STOP', $kafka->{broker}{pid});
		eval { wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log };
		my $error = $@;
		kill('CONT', $kafka->{broker}{pid});
		die $error if $error;
	},
	'pass');
ok_passes('fault 8: connections that are reset over and over',
	sub { $before = $proxy->connections; wait_for(sub { $proxy->connections > $before + 10 }, '10 connections') }, 'storm', 100);
ok_passes('fault 8: connections that break in the middle of an answer',
	sub { $before = $proxy->connections; wait_for(sub { $proxy->connections > $before + 4 }, '4 connections') }, 'cut', 20000);
# slow is not broken: all comes through while it lasts
ok_passes('fault 8: drips of few bytes', sub { wait_for(sub { $oracle->seen == $oracle->{next} }, 'progress') }, 'throttle', 100000, 7);
ok_passes('fault 8: 1 Mbit a second',
	sub { wait_for(sub { $oracle->seen == $oracle->{next} }, 'progress') }, 'throttle', 125000) if $ENV{CDC_SINK_FULL};
ok_passes('fault 8: half a second each way', sub { wait_for(sub { $oracle->seen == $oracle->{next} }, 'progress') }, 'delay', 500);

# --- memory, with a slow way and much to come
$oracle->produce(3000, 1000);
my @sizes = map { slurp_file("/proc/$_/status") =~ /RssAnon:\s+(\d+)/ ? $1 : () } split / /, $workers;
cmp_ok((sort { $a <=> $b } @sizes)[-1] // 1e9, '<', 128 * 1024, 'fault 8: the memory of the workers stays below 128 MB');

# --- names
$node->safe_psql('postgres', "SELECT cdc_sink.alter_subscription('$_', server => 'named')") foreach $rows, $log;
wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log;
like($node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$rows'"), qr/kafka\.invalid|nobody\.invalid/, 'fault 9: the view names what does not resolve');
my $positions = $node->safe_psql('postgres', 'SELECT subscription, partition, next_offset FROM cdc_sink.position ORDER BY 1, 2');
$oracle->produce(30);
is($node->safe_psql('postgres', 'SELECT subscription, partition, next_offset FROM cdc_sink.position ORDER BY 1, 2'), $positions, 'fault 9: no position moves meanwhile');
resolve('127.0.0.1');
$oracle->ok_clean('fault 9: a name that resolves again, beside one that does not');
# the broker moves: another address has it, the old one is dead
my $moved = CdcSink::Proxy->new($kafka->bootstrap, '--listen', '127.0.0.2');
$proxy->command('refuse');
my ($moved_port) = $moved->bootstrap =~ /:(\d+)$/;
$node->safe_psql('postgres', qq{ALTER SERVER named OPTIONS (SET "bootstrap.servers" 'kafka.invalid:$moved_port')});
resolve('127.0.0.2');
$oracle->produce(30);
$oracle->ok_clean('fault 9: the bootstrap host moves');

$node->stop('fast');
ok_no_crash($node);
done_testing();
