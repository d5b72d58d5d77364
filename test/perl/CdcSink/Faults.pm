# What tests of faults have in common: errors as the views show them, partitions that stop, sessions of other roles.
package CdcSink::Faults;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;
use Test::More;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

our @EXPORT = qw(as_role error_of record_of last_error ok_stops pass_over worker_pid memory_kb);

# What a role gets for a script: output and errors, with SQLSTATE.
sub as_role
{
	my ($node, $role, $sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', $role ]);
	return $out . ($err =~ s/^psql:<stdin>:\d+: //mgr);
}

# "SQLSTATE: message" of the first error in it.
sub error_of
{
	my ($text) = @_;
	my ($error) = $text =~ /(?:ERROR|FATAL):  (.*)/;
	return $error // "no error: $text";
}

# A record of any op of a table that the source block names.
sub record_of
{
	my ($table, $op, $row) = @_;
	my $json = JSON::PP->new->canonical;
	my $image = $op eq 'd' ? 'before' : 'after';
	my $value = { before => undef, after => undef, $image => $row, op => $op, ts_ms => 1, source => { schema => 'public', table => $table } };
	return { key => $json->encode({ id => $row->{id} }), value => $json->encode($value) };
}

# "SQLSTATE message" of the newest error of a topic.
sub last_error
{
	my ($node, $topic) = @_;
	return $node->safe_psql('postgres',
		"SELECT concat_ws(' ', sqlstate, message) FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = '$topic' ORDER BY occurred_at DESC LIMIT 1");
}

# A partition 0 stops, its state shows the reason and a hint, and the newest error of its topic is like it should be.
sub ok_stops
{
	my ($node, $topic, $reason, $like, $title) = @_;
	my $state = '';
	eval {
		wait_for(
			sub {
				$state = $node->safe_psql('postgres', "SELECT concat_ws(' ', state, state_reason, CASE WHEN hint IS NULL THEN 'no hint' END) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = '$topic' AND partition = 0");
				return $state eq "stopped $reason" && last_error($node, $topic) =~ $like;
			},
			$title);
	};
	is($state, "stopped $reason", "$title: stopped") or diag(show_views($node));
	like(last_error($node, $topic), $like, "$title: says why");
	return;
}

# Has partition 0 of a topic pass over the record at which it stands.
sub pass_over
{
	my ($node, $subscription, $topic) = @_;
	$node->safe_psql('postgres',
		qq{SELECT cdc_sink.skip_record('$subscription', '$topic', 0, next_offset) FROM cdc_sink.position WHERE subscription = '$subscription' AND topic = '$topic' AND partition = 0});
	return;
}

# Process of a subscription's worker, once there is one.
sub worker_pid
{
	my ($node, $subscription) = @_;
	return wait_for(
		sub { $node->safe_psql('postgres', "SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$subscription'") },
		"a worker of $subscription");
}

# Memory that a process has for itself, in kB.
sub memory_kb
{
	my ($pid) = @_;
	open(my $f, '<', "/proc/$pid/status") or return 0;
	my ($kb) = join('', <$f>) =~ /^RssAnon:\s+(\d+)/m;
	return $kb;
}

1;
