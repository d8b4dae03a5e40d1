package streamwise.bench;

import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;

/** Kafka values as they are: the function reads them in place. */
final class BytesSchema extends AbstractDeserializationSchema<byte[]> {
  @Override
  public byte[] deserialize(byte[] message) {
    return message;
  }
}
