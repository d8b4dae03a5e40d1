package streamwise.bench;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams 4.1: the Processor API over a key-value store with its changelog.
 *
 * <p>At least once, commit every second (so that changed rows reach the changelog once a second),
 * two stream threads for four tasks. Keys and values stay bytes: events are read in place and a
 * state is 64 bytes, so nothing is made that is thrown away. The store is `memory` or
 * `rocksdb`, the cache `--cache-mb` large. With 10,000 customers the cache spares most changelog
 * writes; with a million it only adds a second tree to search, and none (0) may be faster. bench.engine
 * takes the best figure. The job runs through from the first event; only those after `--warmup` are
 * measured, with the JIT hot.
 */
public final class KafkaStreamsPeer {
  private static final String STORE = "states";

  private KafkaStreamsPeer() {}

  public static void main(String[] args) throws Exception {
    Options options = new Options(args);
    Meter meter = new Meter(options.number("warmup"), options.number("events"));
    KafkaStreams streams = new KafkaStreams(topology(options), settings(options));
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
      return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.start();
    String setting = options.text("store") + ", cache " + options.text("cache-mb") + " MB";
    String line = meter.await("kafka_streams", setting);
    // Closing flushes what is still in the producers, alerts too.
    streams.close(Duration.ofSeconds(60));
    streams.cleanUp();
    System.out.println(line);
  }

  private static Topology topology(Options options) {
    KeyValueBytesStoreSupplier supplier = switch (options.text("store")) {
      case "memory" -> Stores.inMemoryKeyValueStore(STORE);
      case "rocksdb" -> Stores.persistentKeyValueStore(STORE);
      default -> throw new IllegalArgumentException("--store is memory or rocksdb");
    };
    var bytes = Serdes.Bytes();
    var values = Serdes.ByteArray();
    var store = Stores.keyValueStoreBuilder(supplier, bytes, values);
    boolean cached = options.number("cache-mb") > 0;
    return new Topology()
        .addSource("events", bytes.deserializer(), values.deserializer(), options.text("topic"))
        .addProcessor("fold", Fold::new, "events")
        .addStateStore(cached ? store.withCachingEnabled() : store.withCachingDisabled(), "fold")
        .addSink("alerts", options.text("alerts-topic"),
            bytes.serializer(), values.serializer(), "fold");
  }

  private static Properties settings(Options options) throws Exception {
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "ks-" + java.util.UUID.randomUUID());
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.text("bootstrap"));
    settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("ks-").toString());
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
    settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG,
        options.number("cache-mb") << 20);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
    settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG),
        "earliest");
    settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
    settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 20);
    settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG),
        4 << 20);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 50);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 << 10);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128 << 20);
    return settings;
  }

  /** One task: its store and its model. */
  private static final class Fold implements Processor<Bytes, byte[], Bytes, byte[]> {
    private final SmallJob job = new SmallJob();
    private final Meter.Counter counter = Meter.counter();
    private final Event event = new Event();
    private final State state = new State();
    private ProcessorContext<Bytes, byte[]> context;
    private KeyValueStore<Bytes, byte[]> store;

    @Override
    public void init(ProcessorContext<Bytes, byte[]> context) {
      this.context = context;
      store = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<Bytes, byte[]> record) {
      event.read(record.value());
      byte[] row = store.get(record.key());
      if (row == null) {
        state.reset(event.tsMs);
      } else {
        state.read(row);
      }
      boolean alert = job.handle(state, event);
      store.put(record.key(), state.toBytes());
      if (alert) {
        byte[] json = job.alert(event).getBytes(StandardCharsets.UTF_8);
        context.forward(record.withValue(json));
      }
      counter.event(alert);
    }
  }
}
