// Runs when the picker of the Progress tab is on the page. Gradio hands in `element`, `props` and `upload`; setting a
// property of `props` draws picker.html again, so listeners sit on `element`, which stays.

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
      props.problem = `“${file.name}” could not be uploaded: it is too large, or the connection broke off. Try it again.`;
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
