package streamwise.bench;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * A framed Avro event, read by hand: the Avro library would make strings and a record that the job
 * throws away. Strings stay where they are in the record; every field is
 * passed over and its length followed.
 */
public final class Event {
  public static final int CART = 2;
  public static final int ORDER = 3;

  private static final int FRAME_BYTES = 5;
  private static final int SCHEMA_ID = 1;
  private static final VarHandle INTS =
      MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);
  private static final VarHandle DOUBLES =
      MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);

  public long tsMs;
  public int kind;
  public double value;

  private byte[] record;
  private int at;
  private int customerAt;
  private int customerBytes;

  /** Read a Kafka value; this event is valid until the next call. */
  public void read(byte[] framed) {
    if (framed[0] != 0 || (int) INTS.get(framed, 1) != SCHEMA_ID) {
      throw new IllegalArgumentException("not an event of schema " + SCHEMA_ID);
    }
    record = framed;
    at = FRAME_BYTES;
    skipString();
    customerBytes = (int) readLong();
    customerAt = at;
    at += customerBytes;
    tsMs = readLong();
    kind = (int) readLong();
    skipString();
    if (readLong() == 1) {
      skipString();
    }
    value = readLong() == 1 ? (double) DOUBLES.get(record, at) : 0.0;
  }

  public String customer() {
    return new String(record, customerAt, customerBytes, StandardCharsets.UTF_8);
  }

  private void skipString() {
    int bytes = (int) readLong();
    at += bytes;
  }

  private long readLong() {
    long raw = 0;
    int shift = 0;
    byte next;
    do {
      next = record[at++];
      raw |= (long) (next & 0x7f) << shift;
      shift += 7;
    } while (next < 0);
    return (raw >>> 1) ^ -(raw & 1);
  }
}
