/** What `portcullis network` and `portcullis service` ask of the daemon (network-door.ts). */
export type NetworkQuestion = 'alterations' | 'denials' | 'explain' | 'gc' | 'overlay' | 'services';

/** Answers a question with plain JSON, or with its text. @param body what was asked, as text; empty where the question says it all */
export type AnswerNetwork = (question: NetworkQuestion, body: string) => Promise<object | string>;

/** Plugin calls that come at a socket. */
export interface Listening {
  /** Takes no new calls and returns when those that were read have their answer. The socket itself is its owner's to close, and before this: who comes afterwards is not heard. */
  close(): Promise<void>;
}

/** @param listener descriptor of a listening unix socket, which stays the caller's @param answerNetwork what commands may ask; absent: nothing */
export type ServePlugins = (listener: number, answerNetwork?: AnswerNetwork) => Promise<Listening>;
