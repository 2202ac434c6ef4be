/** A step server (docs/contract.md): its messages, and the answers to them. */

import type { Runner } from "./index.js";

export interface Message {
  /** The line of the head, as it came. */
  line: Uint8Array;
  head: Record<string, unknown> & { bytes: number };
  /** The keys of numbers that are not written as whole ones. */
  decimals: Set<string>;
  data: Uint8Array;
}

/** A message as bytes: the line of `head`, then the data of tensors. */
export function packed(head: object, arrays?: ArrayBufferView[]): Uint8Array;

/** The first message of a server. */
export function hello(runner: Runner, driver: string): Uint8Array;

/** An error as a message. */
export function refusal(error: unknown): Uint8Array;

/** The messages in a stream of bytes; refuses what is none. */
export function messages(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Message, void>;

/** The reply to a request; an error if it is refused. */
export function replyTo(runner: Runner, message: Message): Promise<Uint8Array>;
