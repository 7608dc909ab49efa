// Runs when the picker of the Progress tab is loaded. Gradio passes `element`, `props` and `upload`. Setting a
// property of `props` renders picker.html again, so the listeners are on `element`, which stays.

const add = async (files) => {
  if (!files.length || props.uploading) return;
  props.problem = '';
  props.uploading = files.length;
  const added = [];
  for (const file of files) {
    try {
      const { path, url } = await upload(file);
      added.push({ path, url, name: file.name });
    } catch {
      props.problem = `“${file.name}” could not be uploaded: it is too large, or the connection was lost. Try again.`;
    }
  }
  props.uploading = 0;
  props.value = [...(props.value || []), ...added];
};

element.addEventListener('change', (event) => {
  if (event.target.type === 'file') add([...event.target.files]);
});

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-remove]');
  if (button) props.value = props.value.filter((_, index) => index !== Number(button.dataset.remove));
});

element.addEventListener('dragover', (event) => {
  event.preventDefault();
  element.classList.add('over');
});

element.addEventListener('dragleave', () => element.classList.remove('over'));

element.addEventListener('drop', (event) => {
  event.preventDefault();
  element.classList.remove('over');
  add([...event.dataTransfer.files]);
});
