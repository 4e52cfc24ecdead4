// The gateway's API, as far as the page needs it.

const BASE = new URL(".", document.baseURI);
const KEY = "tritonclip-key";

let askForKey = async () => false;

/** Tells who asks the user for a key (another one if `isWrong`) and resolves to whether it came. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Keeps a key, also as a cookie: pictures and videos can't send a header. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
  const secure = location.protocol === "https:" ? "; secure" : "";
  const path = new URL("v1/items", BASE).pathname;
  document.cookie = `${KEY}=${key}; path=${path}; samesite=strict${secure}`;
}

/** An answer that is not one, or none at all (status 0). */
export class ApiError extends Error {
  constructor(status, { message, code, param }) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

export const post = (path, body, signal) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

export const get = (path, signal) => ask(path, { signal });

export const thumbnailOf = (hit, side) => url(`v1/items/${hit.id}/thumbnail?side=${side}`);

export const originalOf = (hit) => url(`v1/items/${hit.id}/original`);

const url = (path) => new URL(path, BASE).href;

async function ask(path, options, waits = 3) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(url(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, {
      code: "unreachable",
      message: "The gateway does not answer. Is it still running?",
    });
  }
  if (response.ok) return response.json();
  if (response.status === 401 && (await askForKey(Boolean(key)))) return ask(path, options, waits);
  if (response.status === 429 && waits) {
    await pause(1000 * (Number(response.headers.get("Retry-After")) || 1), options.signal);
    return ask(path, options, waits - 1);
  }
  const body = await response.json().catch(() => ({}));
  throw new ApiError(
    response.status,
    body.error ?? { code: "unknown", message: `The gateway answered ${response.status}.` },
  );
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
