// The error of this package. `exitCode` is one of docs/exit-codes.md, for programs that end with it.

export class TrmError extends Error {
  name = "TrmError";

  constructor(message, exitCode = 4) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The first line of whatever an engine has thrown. */
export function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0];
}

/** Raises one error with all problems, the first few of them in words. */
export function refuseIf(problems, summary, listed = 5) {
  if (!problems.length) return;
  const more = problems.length - listed;
  const shown = [...problems.slice(0, listed), ...(more > 0 ? [`... and ${more} more`] : [])];
  throw new TrmError(`${summary} ${shown.join("; ")}.`);
}
