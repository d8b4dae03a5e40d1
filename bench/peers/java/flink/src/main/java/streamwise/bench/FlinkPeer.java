package streamwise.bench;

import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Flink 2: Kafka source, keyed process function, Kafka sink, in a cluster inside this process.
 *
 * <p>Checkpoints are off, which is its better figure: a crash starts from the beginning of the
 * topic. Object reuse is on, `fetch.max.wait.ms` is 20 so that a quiet partition does not hold up
 * the others. State is on the `heap` (hash map backend) or in `rocksdb`. `--keyed shuffled` is the usual
 * keyBy, which serializes each event to the next task. `--keyed chained` reinterprets the stream as
 * keyed, which a single task may do: source, function and sink then run as one chain; it needs
 * `--parallelism 1` and the API is marked experimental. bench.engine takes the best figure. The job
 * runs through from the first event; only those after `--warmup` are measured, with the JIT hot.
 */
public final class FlinkPeer {
  private FlinkPeer() {}

  public static void main(String[] args) throws Exception {
    Options options = new Options(args);
    Meter meter = new Meter(options.number("warmup"), options.number("events"));
    int parallelism = (int) options.number("parallelism");
    var environment =
        StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings(options));
    DataStream<byte[]> events = environment.fromSource(
        source(options), WatermarkStrategy.noWatermarks(), "events");
    keyed(events, options).process(new Fold()).sinkTo(sink(options));
    JobClient client = environment.executeAsync("small job");
    // The topic ends, so the job does, and flushes its alerts; a job that fails must not hang.
    client.getJobExecutionResult().whenComplete((JobExecutionResult result, Throwable error) -> {
      if (error != null) {
        error.printStackTrace();
        Runtime.getRuntime().halt(1);
      }
    });
    String setting =
        options.text("state") + ", " + options.text("keyed") + ", parallelism " + parallelism;
    String line = meter.await("flink", setting);
    client.getJobExecutionResult().get();
    System.out.println(line);
    System.exit(0);
  }

  private static Configuration settings(Options options) {
    Configuration settings = new Configuration();
    settings.set(PipelineOptions.OBJECT_REUSE, true);
    settings.set(ExecutionOptions.RUNTIME_MODE, RuntimeExecutionMode.STREAMING);
    settings.set(StateBackendOptions.STATE_BACKEND, switch (options.text("state")) {
      case "heap" -> "hashmap";
      case "rocksdb" -> "rocksdb";
      default -> throw new IllegalArgumentException("--state is heap or rocksdb");
    });
    settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512));
    return settings;
  }

  private static KafkaSource<byte[]> source(Options options) {
    Properties consumer = new Properties();
    consumer.setProperty("fetch.max.wait.ms", "20");
    consumer.setProperty("max.poll.records", "10000");
    consumer.setProperty("max.partition.fetch.bytes", String.valueOf(4 << 20));
    return KafkaSource.<byte[]>builder()
        .setBootstrapServers(options.text("bootstrap"))
        .setTopics(options.text("topic"))
        .setGroupId("flink-" + java.util.UUID.randomUUID())
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setBounded(OffsetsInitializer.latest())
        .setValueOnlyDeserializer(new BytesSchema())
        .setProperties(consumer)
        .build();
  }

  private static KafkaSink<String> sink(Options options) {
    return KafkaSink.<String>builder()
        .setBootstrapServers(options.text("bootstrap"))
        .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
            .setTopic(options.text("alerts-topic"))
            .setValueSerializationSchema(new SimpleStringSchema(StandardCharsets.UTF_8))
            .build())
        .build();
  }

  private static KeyedStream<byte[], String> keyed(DataStream<byte[]> events, Options options) {
    CustomerOf customer = new CustomerOf();
    return switch (options.text("keyed")) {
      case "shuffled" -> events.keyBy(customer);
      case "chained" -> {
        // More tasks would each get customers of key groups that are not theirs.
        if (options.number("parallelism") != 1) {
          throw new IllegalArgumentException("--keyed chained needs --parallelism 1");
        }
        yield DataStreamUtils.reinterpretAsKeyedStream(events, customer);
      }
      default -> throw new IllegalArgumentException("--keyed is chained or shuffled");
    };
  }

  /** One task: its customers' states and its model. */
  private static final class Fold extends KeyedProcessFunction<String, byte[], String> {
    private transient SmallJob job;
    private transient Meter.Counter counter;
    private transient Event event;
    private transient ValueState<byte[]> rows;
    private transient State state;

    @Override
    public void open(OpenContext context) {
      job = new SmallJob();
      counter = Meter.counter();
      event = new Event();
      state = new State();
      rows = getRuntimeContext().getState(new ValueStateDescriptor<>("rows", byte[].class));
    }

    @Override
    public void processElement(byte[] value, Context context, Collector<String> out)
        throws Exception {
      event.read(value);
      byte[] row = rows.value();
      if (row == null) {
        state.reset(event.tsMs);
      } else {
        state.read(row);
      }
      boolean alert = job.handle(state, event);
      rows.update(state.toBytes());
      if (alert) {
        out.collect(job.alert(event));
      }
      counter.event(alert);
    }
  }
}
