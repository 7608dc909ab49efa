// Runs when a picker is loaded. Gradio passes `element`, `props`, `upload` and `server`. Setting a property of
// `props` renders picker.html again, so the listeners are on `element`, which stays.

const add = async (files) => {
  if (!files.length || props.uploading) return;
  if (!props.multiple && files.length > 1) {
    props.problem = `These are ${files.length} files. Add one photo: each is classified by itself.`;
    return;
  }
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
  if (!added.length) return;
  props.value = props.multiple ? [...(props.value || []), ...added] : added;
  trigger('upload');
};

// The server draws photos in formats that this browser cannot show, except a single photo, which is classified at
// once. A file that is no photo is shown as its name.
const thumbnails = new Map();
const drawByServer = async (image) => {
  const photo = (props.value || []).find(({ url }) => url === image.getAttribute('src'));
  if (!photo) return;
  const tile = image.parentElement;
  tile.classList.add('drawing');
  if (props.multiple && !thumbnails.has(photo.path)) {
    thumbnails.set(photo.path, server.thumbnail(photo.path).catch(() => null));
  }
  const drawn = await thumbnails.get(photo.path);
  tile.classList.remove('drawing');
  if (drawn) image.src = drawn;
  else image.replaceWith(Object.assign(document.createElement('span'), { textContent: photo.name }));
};

element.addEventListener('error', (event) => {
  if (event.target.matches('.picked img')) drawByServer(event.target);
}, true); // errors of pictures do not bubble

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

document.addEventListener('paste', (event) => {
  if (element.offsetParent) add([...event.clipboardData.files]); // else the picker's tab is not shown
});
