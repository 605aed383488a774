/** What kubelet and crictl allow in both directions; grpc-js would refuse to receive more than 4 MiB. */
export const largestMessage = 16 * 1024 * 1024;

/** Channel options for server and client. */
export const messageLimits = { 'grpc.max_receive_message_length': largestMessage, 'grpc.max_send_message_length': largestMessage } as const;
