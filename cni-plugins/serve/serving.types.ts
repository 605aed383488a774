/** Queries of `portcullis network` and `portcullis service` to the daemon (network-door.ts). */
export type NetworkQuestion = 'alterations' | 'denials' | 'explain' | 'gc' | 'overlay' | 'services';

/**
 * Answers a query with plain JSON or with text.
 * @param body the text of the query; empty if the query needs none
 */
export type AnswerNetwork = (question: NetworkQuestion, body: string) => Promise<object | string>;

/** Plugin calls that arrive at a socket. */
export interface Listening {
  /**
   * Takes no new calls, and returns when those that were read have been answered. The owner of the socket
   * must close it before this call; connections that arrive afterwards are not served.
   */
  close(): Promise<void>;
}

/**
 * @param listener descriptor of a listening unix socket, which the caller keeps
 * @param answerNetwork answers queries of commands; absent: none are answered
 */
export type ServePlugins = (listener: number, answerNetwork?: AnswerNetwork) => Promise<Listening>;
