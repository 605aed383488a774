/** One stream to etcd, in both directions. */
export interface Stream<Ask, Answer> {
  write(value: Ask): void;
  /** Ends with a thrown failure, or silently after `close`. */
  readonly answers: AsyncIterable<Answer>;
  close(): void;
  /** Ends the stream with a failure, and avoids its member, because it does not answer as it should. */
  abandon(why: string): void;
}
