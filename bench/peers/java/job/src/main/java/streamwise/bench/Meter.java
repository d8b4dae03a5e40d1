package streamwise.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Rate and CPU time of the events after the first `warmup` ones, which make the JIT compile what
 * matters. A thread of its own looks at the tasks' counters once a millisecond, so that counting
 * costs a task no more than a plain store.
 */
public final class Meter {
  /** One task's counters; only that task writes them. */
  public static final class Counter {
    private final AtomicLong events = new AtomicLong();
    private final AtomicLong alerts = new AtomicLong();
    private long seen;
    private long alerted;

    public void event(boolean alert) {
      if (alert) {
        alerts.lazySet(++alerted);
      }
      events.lazySet(++seen);
    }
  }

  // The tasks of an in-process Flink cluster are copies of serialized ones: only statics are shared.
  private static final List<Counter> COUNTERS = new CopyOnWriteArrayList<>();

  private final long warmup;
  private final long events;

  public Meter(long warmup, long events) {
    if (warmup >= events) {
      throw new IllegalArgumentException("the warm-up must be shorter than the topic");
    }
    this.warmup = warmup;
    this.events = events;
  }

  public static Counter counter() {
    Counter counter = new Counter();
    COUNTERS.add(counter);
    return counter;
  }

  /** Wait until all events are processed; returns the final JSON line. */
  public String await(String engine, String setting) throws InterruptedException {
    waitFor(warmup);
    long startEvents = seen();
    long startCpuNs = cpuNs();
    long startNs = System.nanoTime();
    waitFor(events);
    double spanS = (System.nanoTime() - startNs) / 1e9;
    double cpuUs = (cpuNs() - startCpuNs) / 1e3;
    long measured = seen() - startEvents;
    long alerts = COUNTERS.stream().mapToLong(counter -> counter.alerts.get()).sum();
    return String.format(
        "{\"engine\": \"%s\", \"setting\": \"%s\", \"events\": %d, \"measured_events\": %d, "
            + "\"events_per_s\": %.1f, \"cpu_us_per_event\": %.4f, \"alerts\": %d}",
        engine, setting, seen(), measured, measured / spanS, cpuUs / measured, alerts);
  }

  private static void waitFor(long count) throws InterruptedException {
    while (seen() < count) {
      Thread.sleep(1);
    }
  }

  private static long seen() {
    long sum = 0;
    for (Counter counter : COUNTERS) {
      sum += counter.events.get();
    }
    return sum;
  }

  private static long cpuNs() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }
}
