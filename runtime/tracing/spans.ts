import { AsyncLocalStorage } from 'node:async_hooks';

/** One timed part of a call. Its trace is sent to a collector when tracing is configured. */
export interface OpenSpan {
  child(name: string, attributes: SpanAttributes): OpenSpan;
  /**
   * Ends the span.
   * @param failure the value that the part threw
   */
  end(failure?: unknown): void;
}

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

const current = new AsyncLocalStorage<OpenSpan>();

/** Runs `body` as a part of the current call. Outside of a traced call it only runs `body`. */
export function traced<T>(name: string, body: () => Promise<T>, attributes: SpanAttributes = {}): Promise<T> {
  const parent = current.getStore();
  return parent === undefined ? body() : within(parent.child(name, attributes), body);
}

/** Runs `body` with `span` as the parent of its {@link traced} parts, and ends the span. */
export async function within<T>(span: OpenSpan, body: () => Promise<T>): Promise<T> {
  try {
    const result = await current.run(span, body);
    span.end();
    return result;
  } catch (thrown) {
    span.end(thrown);
    throw thrown;
  }
}
