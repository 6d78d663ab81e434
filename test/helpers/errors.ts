import { WalError } from '../../lib';
import type { WalErrorCode } from '../../lib';

/** What `action` throws or rejects with. Fails when it does neither. */
export async function failureOf(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  throw new Error('expected a failure');
}

/** `action` throws, or rejects with, a WalError of this code; returns it. */
export async function expectWalError(code: WalErrorCode, action: () => unknown): Promise<WalError> {
  const error = await failureOf(action);
  expect(error).toBeInstanceOf(WalError);
  expect(error).toMatchObject({ name: 'WalError', code });
  return error as WalError;
}

export async function expectTypeError(message: string | RegExp, action: () => unknown): Promise<void> {
  const error = await failureOf(action);
  expect(error).toBeInstanceOf(TypeError);
  expect((error as Error).message).toMatch(message);
}

export async function expectRangeError(message: string | RegExp, action: () => unknown): Promise<void> {
  const error = await failureOf(action);
  expect(error).toBeInstanceOf(RangeError);
  expect((error as Error).message).toMatch(message);
}
