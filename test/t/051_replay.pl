# Recorded Debezium streams through a real broker end in the tables that they must lead to, whatever the size of a batch.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(source_dir);

my @streams = qw(quickstart quickstart-schemaless multi-partition);

my $kafka = CdcSink::Kafka->new;
my $read = new_read_side();

# What psql prints for a stream's dump script: the tables as CSV.
sub dump_tables
{
	my ($database, $dir) = @_;
	return $read->safe_psql($database, slurp_file("$dir/expected/dump.sql"));
}

# The same text from the recorded files, in the order in which the script names them.
sub expected_tables
{
	my $dir = shift;
	my $text = join('', map { slurp_file("$dir/expected/$_") } slurp_file("$dir/expected/dump.sql") =~ /^-- (\S+\.csv)$/mg);
	chomp $text;
	return $text;
}

foreach my $stream (@streams)
{
	my $dir = source_dir() . "/test/fixtures/streams/$stream";
	my @names = stream_topics("$dir/events.jsonl");
	$kafka->load_stream($stream, "$stream.");
	foreach my $batch_rows (1, 7, undef)
	{
		my $title = "$stream, batch_rows " . ($batch_rows // 'as it is');
		my $database = "d_" . ($stream =~ s/\W/_/gr) . '_' . ($batch_rows // 'default');
		my $options = $batch_rows ? qq({"batch_rows": $batch_rows}) : '{}';
		my $source = slurp_file("$dir/connector.json") =~ s/'/''/gr;
		$read->safe_psql('postgres', "CREATE DATABASE $database");
		$read->safe_psql($database, slurp_file("$dir/target.sql"));
		$read->safe_psql($database, 'CREATE EXTENSION cdc_sink');
		create_server($read, $database, $kafka->bootstrap);
		$read->safe_psql($database,
			"SELECT cdc_sink.create_subscription('s', 'kafka', source => '$source', options => '$options');"
			  . join('', map { /([^.]+\.[^.]+)$/; "SELECT cdc_sink.add_mapping('s', '$stream.$_', '$1');" } @names));
		ok_caught_up($read, 's', "$title: caught up", $database);
		is_text(dump_tables($database, $dir), expected_tables($dir), "$title: tables equal");
		# gives its place in cdc_sink.max_workers to the next one
		$read->safe_psql($database, "SELECT cdc_sink.disable_subscription('s')");
	}
}

# Names of the topics of a recorded stream.
sub stream_topics
{
	my %seen;
	$seen{$_} = 1 for slurp_file(shift) =~ /^\{"topic": ?"([^"]+)"/mg;
	return sort keys %seen;
}

$read->stop('fast');
ok_no_crash($read);
done_testing();
