/** The file of a layer, in the layer's folder of the image store. */
export const layerFileName = 'layer.erofs';
