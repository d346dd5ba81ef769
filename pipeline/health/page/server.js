// What the server is asked, and whether it still answers.

const TIMEOUT_MS = 3000;

let token = ""; // Typed in by the operator, kept by nothing but this tab.

export const hasToken = () => token !== "";

export function useToken(value) {
  token = value;
}

export async function ask(path, method = "GET") {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (method === "POST") headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the server answers ${answer.status}`);
}
