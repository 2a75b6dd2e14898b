// Keeps the picture and the words of the status page fresh without loading the page again.
const picture = document.getElementById('screen');
const words = document.getElementById('words');
const EVERY_MS = 1000;
let shown = picture.dataset.frame;
let timer;

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetch('/live', { cache: 'no-store' });
    if (!answer.ok) throw new Error(answer.statusText);
    const live = await answer.json();
    words.innerHTML = live.words; // written and escaped by the box itself
    picture.alt = live.alt;
    if (live.frame !== shown) {
      shown = live.frame;
      picture.src = '/screen.png?frame=' + shown;
    }
    document.body.classList.remove('lost');
  } catch {
    document.body.classList.add('lost');
  }
  timer = setTimeout(refresh, EVERY_MS);
}

const form = document.getElementById('button');
if (form) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const press = event.submitter ? event.submitter.value : 'short';
    try {
      await fetch('/button', { method: 'POST', body: new URLSearchParams({ press }) });
    } finally {
      refresh();
    }
  });
}
timer = setTimeout(refresh, EVERY_MS);
