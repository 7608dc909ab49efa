// Runs once. Reports a server that does not answer: Gradio detects it only with the next request, and waits.
// After a restart the uploads and the requests in progress are gone, so the page is loaded again; an answer on
// the screen stays.

const ALLOWED_MISSES = 1; // a busy server can be late
const banner = element.querySelector('.connection');
let process;
let misses = 0;

const check = async () => {
  if (document.hidden) return;
  try {
    const response = await fetch('alive', { cache: 'no-store', signal: AbortSignal.timeout(4000) });
    if (!response.ok) throw new Error();
    const answering = await response.text();
    process ??= answering;
    if (answering !== process && !document.querySelector('.answer')) location.reload();
    misses = 0;
  } catch {
    misses += 1;
  }
  banner.hidden = misses <= ALLOWED_MISSES;
};

check();
setInterval(check, 5000);
