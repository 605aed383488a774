/**
 * Adds the program to crun's message `open executable: Permission denied`, which does not name it. Other
 * messages are not changed.
 * @param program the first argument of the process; undefined: it is not known
 */
export function withExecutable(message: string, program: string | undefined): string {
  if (program === undefined) return message;
  return message.replace(
    /^open executable:/mu,
    () => `open executable ${JSON.stringify(program.slice(0, 300))}:`,
  );
}

/** Adds the usual cause to crun's message about a null device that the container does not have. */
export function withCause(message: string): string {
  return message.replace(
    /failed open\(\)ing \/dev\/null: .*$/mu,
    '$&: a volume at /dev, or at /dev/null, hides the null device',
  );
}

/** Messages of the C library and Go about a node that lacks a resource. Another attempt may succeed. */
const shortage =
  /resource temporarily unavailable|cannot allocate memory|no space left on device|disk quota exceeded|too many open files|device or resource busy|input\/output error/i;

/** Returns whether the message of a runtime names a resource that the node lacks for now. */
export function namesShortage(message: string): boolean {
  return shortage.test(message);
}

/** A line of runc's log in logfmt. The time of a message makes each event of a kubelet a new one. */
const logfmt = /^(?:time="[^"]*" )?level=\w+ msg=(?:"((?:[^"\\]|\\.)*)"|(\S+))/gmu;

/** Returns the messages of a runtime without the time and the level that runc adds to each line. */
export function plainMessage(log: string): string {
  return log.replaceAll(
    logfmt,
    (_line, quoted: string | undefined, bare: string | undefined) =>
      quoted?.replaceAll(/\\(.)/gu, (_escape, character: string) => (character === 'n' ? '\n' : character)) ??
      bare ??
      '',
  );
}

/** The place of an error in a JSON file, which crun adds in two lines: some text, and an arrow below it. */
const jsonPlace = /\n.*\n *\(right here\) -+\^$/u;

/** Returns the last message of a runtime's log, which is the error. */
export function lastMessage(log: string): string {
  return plainMessage(log.trim().replace(jsonPlace, '').split('\n').at(-1) ?? '');
}
