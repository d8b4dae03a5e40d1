package streamwise.bench;

/** The job of bench/workload/job.py, where it is described; one for each task, as each task learns alone. */
public final class SmallJob {
  private static final double DECAY_MS = 3.6e6;
  private static final double LEARNING_RATE = 0.01;
  private static final double MAX_LOGIT = 35.0;
  private static final int ALERT_EVERY = 100;

  private final double[] weights = new double[7];
  private final double[] features = new double[7];
  private double bias;
  private double probability;

  /** Apply an event to its customer's state; true when it is due an alert. */
  public boolean handle(State state, Event event) {
    double fade = Math.exp((state.clockMs - event.tsMs) / DECAY_MS);
    double[] sums = state.sums;
    double logit = bias;
    for (int i = 0; i < sums.length; i++) {
      sums[i] *= fade;
      features[i] = sums[i];
    }
    long last = state.lastPurchaseMs;
    features[5] = last == 0 ? 0.0 : Math.log1p((event.tsMs - last) / 1e3);
    features[6] = Math.log1p(state.events);
    for (int i = 0; i < features.length; i++) {
      logit += weights[i] * features[i];
    }
    logit = Math.max(-MAX_LOGIT, Math.min(MAX_LOGIT, logit));
    probability = 1.0 / (1.0 + Math.exp(-logit));
    if (event.kind >= Event.CART) {
      learn(probability - (event.kind == Event.ORDER ? 1.0 : 0.0));
    }
    sums[event.kind] += 1.0;
    if (event.value != 0.0) {
      sums[State.SPEND] += event.value;
      state.lastPurchaseMs = event.tsMs;
    }
    state.clockMs = event.tsMs;
    state.events++;
    return state.events % ALERT_EVERY == 0;
  }

  /** The alert of the event just handled, as JSON. */
  public String alert(Event event) {
    return "{\"customer\":\"" + event.customer() + "\",\"p\":" + probability
        + ",\"ts\":" + event.tsMs + "}";
  }

  private void learn(double error) {
    double step = LEARNING_RATE * error;
    bias -= step;
    for (int i = 0; i < features.length; i++) {
      weights[i] -= step * features[i];
    }
  }
}
