package streamwise.bench;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** One customer's state, and its form as 64 bytes for the stores that hold bytes. */
public final class State {
  public static final int BYTES = 64;
  public static final int SPEND = 4;

  private static final VarHandle DOUBLES =
      MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);
  private static final VarHandle LONGS =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

  public long clockMs;
  public long events;
  public long lastPurchaseMs;
  /** Decayed page, search, cart, order and spend. */
  public final double[] sums = new double[SPEND + 1];

  public void reset(long tsMs) {
    clockMs = tsMs;
    events = 0;
    lastPurchaseMs = 0;
    java.util.Arrays.fill(sums, 0.0);
  }

  public void read(byte[] row) {
    clockMs = (long) LONGS.get(row, 0);
    events = (long) LONGS.get(row, 8);
    lastPurchaseMs = (long) LONGS.get(row, 16);
    for (int i = 0; i <= SPEND; i++) {
      sums[i] = (double) DOUBLES.get(row, 24 + 8 * i);
    }
  }

  public byte[] toBytes() {
    byte[] row = new byte[BYTES];
    LONGS.set(row, 0, clockMs);
    LONGS.set(row, 8, events);
    LONGS.set(row, 16, lastPurchaseMs);
    for (int i = 0; i <= SPEND; i++) {
      DOUBLES.set(row, 24 + 8 * i, sums[i]);
    }
    return row;
  }
}
