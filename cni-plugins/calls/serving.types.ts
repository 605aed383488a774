/** Plugin calls that arrive at a socket. */
export interface Listening {
  /**
   * Takes no new calls, and returns when those that were read have been answered. The owner of the socket
   * must close it before this call; connections that arrive afterwards are not served.
   */
  close(): Promise<void>;
}

/** @param listener descriptor of a listening unix socket, which the caller keeps */
export type ServePlugins = (listener: number) => Promise<Listening>;
