// Runs when the form for dates is loaded. A date without a time counts as noon.

element.addEventListener('submit', (event) => {
  event.preventDefault();
  const times = [...event.target.querySelectorAll('[data-time], input')].map((field) => field.dataset.time || `${field.value}T12:00:00`);
  trigger('click', { times });
});

element.addEventListener('click', (event) => {
  if (event.target.closest('[data-order]')) trigger('click', { times: [] });
});
