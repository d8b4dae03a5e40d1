package streamwise.bench;

import org.apache.flink.api.java.functions.KeySelector;

/** The key of an event. */
final class CustomerOf implements KeySelector<byte[], String> {
  private transient Event event;

  @Override
  public String getKey(byte[] value) {
    if (event == null) {
      event = new Event();
    }
    event.read(value);
    return event.customer();
  }
}
