/**
 * The limit of kubelet and crictl in both directions. By default grpc-js refuses to receive more than 4 MiB.
 */
export const largestMessage = 16 * 1024 * 1024;

/** Channel options for server and client. */
export const messageLimits = {
  'grpc.max_receive_message_length': largestMessage,
  'grpc.max_send_message_length': largestMessage,
} as const;
