package streamwise.bench;

import java.util.HashMap;
import java.util.Map;

/** `--name value` pairs of the command line. */
public final class Options {
  private final Map<String, String> values = new HashMap<>();

  public Options(String[] args) {
    if (args.length % 2 != 0) {
      throw new IllegalArgumentException("expected --name value pairs");
    }
    for (int i = 0; i < args.length; i += 2) {
      values.put(args[i], args[i + 1]);
    }
  }

  public String text(String name) {
    String value = values.get("--" + name);
    if (value == null) {
      throw new IllegalArgumentException("--" + name + " is missing");
    }
    return value;
  }

  public long number(String name) {
    return Long.parseLong(text(name));
  }
}
